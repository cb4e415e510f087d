// The attention of one head over one text, written once as the other kernels are (kernels_shared.h): queries, keys and values
// in eight bits, softmax in eight bits.
#pragma once

#include <cstring>

#include "kernels.h"
#include "tiles.h"

namespace dd {
namespace {

constexpr float TINY = 1e-9f;            // a row of zeros has a scale too
constexpr float LOG2_E = 1.44269504f;    // exp(x) = 2^(x log2 e)
constexpr float NEVER = -1e30f;          // a score that no token can have
constexpr int VALUE_OUTPUTS = 32;        // of a panel of packed values

template <class S>
inline float largest_of(const float* row, size_t width) {
    auto largest = S::all(0.f);
    for (size_t k = 0; k < width; k += LANES) largest = S::max(largest, S::abs(S::load(row + k)));
    return S::greatest(largest);
}

// What each of up to LANES rows is divided by so that it fits 127, into `scales`, and the inverse into `factors`.
template <class S>
inline void fit_rows(const float* rows, size_t count, size_t row_pitch, size_t head, float* scales, float* factors) {
    alignas(ALIGNMENT) float largest[LANES] = {};
    for (size_t i = 0; i < count; i++) largest[i] = largest_of<S>(rows + i * row_pitch, head);
    const auto sizes = S::add(S::load(largest), S::all(TINY));
    S::store(scales, S::div(sizes, S::all(127.f)));
    S::store(factors, S::div(S::all(127.f), sizes));
}

// Up to LANES queries: signed eight bits, moved up by 128 because the dot product takes its left side unsigned.
template <class S>
inline void pack_queries(const float* rows, size_t count, size_t row_pitch, size_t head, size_t at,
                         const AttentionRoom& room) {
    alignas(ALIGNMENT) float scales[LANES], factors[LANES];
    fit_rows<S>(rows, count, row_pitch, head, scales, factors);
    const float temperature = LOG2_E / __builtin_sqrtf(static_cast<float>(head));
    S::store(room.query_scales + at, S::mul(S::load(scales), S::all(temperature)));
    for (size_t i = 0; i < count; i++, rows += row_pitch) {
        const auto factor = S::all(factors[i]), shift = S::all(128.f);
        for (size_t k = 0; k < head; k += LANES)
            S::store_u8(room.queries + (at + i) * head + k, S::to_int(S::fma(S::load(rows + k), factor, shift)));
    }
}

// Up to LANES keys.
template <class S>
inline void pack_keys(const float* rows, size_t count, size_t row_pitch, size_t head, size_t at,
                      const AttentionRoom& room) {
    alignas(ALIGNMENT) float factors[LANES];
    fit_rows<S>(rows, count, row_pitch, head, room.key_scales + at, factors);
    int8_t* keys = room.keys + at * QUAD;
    for (size_t i = 0; i < count; i++, rows += row_pitch) {
        alignas(ALIGNMENT) int8_t whole[MAX_HEAD];
        for (size_t k = 0; k < head; k += LANES)
            S::store_s8(whole + k, S::to_int(S::mul(S::load(rows + k), S::all(factors[i]))));
        for (size_t k = 0; k < head; k += QUAD) memcpy(keys + k * room.pitch + i * QUAD, whole + k, QUAD);
    }
    auto sums = S::none();
    for (size_t k = 0; k < head; k += QUAD) sums = S::less_128_times(sums, keys + k * room.pitch);
    S::store_int(room.key_sums + at, sums);
}

// Where there is no token, whatever lies there is no key.
inline void mask(size_t tokens, const AttentionRoom& room) {
    for (size_t n = 0; n < room.pitch; n++) room.key_masks[n] = n < tokens ? 0.f : NEVER;
    for (size_t n = tokens; n < room.pitch; n++) room.key_scales[n] = 0.f;
}

// Values have one scale per column, so that the weighted sum over tokens can be taken in integers.
template <class S>
inline void pack_values(const float* values, size_t tokens, size_t row_pitch, size_t head, const AttentionRoom& room) {
    for (size_t k = 0; k < head; k += LANES) {
        auto largest = S::all(TINY);
        for (size_t n = 0; n < tokens; n++) largest = S::max(largest, S::abs(S::load(values + n * row_pitch + k)));
        S::store(room.value_scales + k, S::div(largest, S::all(127.f)));
        const auto factor = S::div(S::all(127.f), largest);
        int8_t* panel = room.values + k / VALUE_OUTPUTS * VALUE_OUTPUTS * room.pitch + k % VALUE_OUTPUTS * QUAD;
        for (size_t n = 0; n < tokens; n += QUAD) {
            auto quad = S::none();
            for (size_t i = 0; i < QUAD && n + i < tokens; i++) {
                const auto rounded = S::to_int(S::mul(S::load(values + (n + i) * row_pitch + k), factor));
                quad = S::with_byte(quad, rounded, static_cast<int>(i));
            }
            S::store_int(reinterpret_cast<int32_t*>(panel + n * VALUE_OUTPUTS), quad);
        }
    }
}

// 255 * 2^x for x <= 0. Below 2^-40 it may stay there, which eight bits round to nothing.
template <class S>
inline typename S::Floats power_of_two_255(typename S::Floats x) {
    x = S::scalable(x);
    const auto whole = S::rounded(x);
    const auto f = S::sub(x, whole);
    auto p = S::fma(f, S::all(14.2357065f), S::all(61.2577575f));
    p = S::fma(f, p, S::all(176.752536f));
    p = S::fma(f, p, S::all(255.f));
    return S::times_two_to(p, whole);
}

// The scores of ROWS queries from `m` on with N keys from `n` on; raises `highest` to the highest of each query, in lanes.
template <class S, int ROWS, int N>
inline void score_keys(size_t m, size_t n, size_t head, const AttentionRoom& room, typename S::Floats* highest) {
    const auto sink = [=, &room](int j) {
        const size_t column = n + static_cast<size_t>(j);
        const auto sums = S::load_int(room.key_sums + column);
        const auto scale = S::load(room.key_scales + column), mask = S::load(room.key_masks + column);
        return [=, scores = room.scores + column, pitch = room.pitch](int i, typename S::Ints sum) {
            const auto score = S::fma(S::to_float(S::add_int(sum, sums)), scale, mask);
            S::store(scores + static_cast<size_t>(i) * pitch, score);
            highest[i] = S::max(highest[i], score);
        };
    };
    S::template tile<ROWS, N>(room.queries + m * head, head, room.keys + n * QUAD, room.pitch * QUAD,
                              static_cast<int>(head / QUAD), sink);
}

// The scores of ROWS queries from `m` on, and into `highest` the highest of each query, in lanes.
template <class S, int ROWS>
inline void score(size_t m, size_t tokens, size_t head, const AttentionRoom& room, typename S::Floats* highest) {
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) highest[i] = S::all(NEVER);
    constexpr size_t HALF = TILE_OUTPUTS / 2;
    size_t n = 0;
    for (; n + HALF < tokens; n += TILE_OUTPUTS) score_keys<S, ROWS, TILE_OUTPUTS>(m, n, head, room, highest);
    if (n < tokens) score_keys<S, ROWS, HALF>(m, n, head, room, highest);
}

// The chances of LANES tokens: a query's scores, scaled and moved so that the highest is 0.
template <class S>
inline typename S::Ints chances(const float* scores, typename S::Floats factor, typename S::Floats shift) {
    return S::to_int(power_of_two_255<S>(S::fma(S::load(scores), factor, shift)));
}

// Scores to chances in eight bits, and what their sums stand for, inverted. All queries of a tile are in work at once,
// because each alone would wait for its own steps.
template <class S, int ROWS>
inline void soften(const float* query_scales, const typename S::Floats* highest, size_t width, const AttentionRoom& room,
                   float* inverse) {
    typename S::Floats factor[ROWS], shift[ROWS];
    typename S::Ints sum[ROWS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
        factor[i] = S::all(query_scales[i]);
        shift[i] = S::all(-(S::greatest(highest[i]) * query_scales[i]));
        sum[i] = S::none();
    }
    size_t n = 0;
    for (; n + 4 * LANES <= width; n += 4 * LANES)
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const float* scores = room.scores + static_cast<size_t>(i) * room.pitch + n;
            typename S::Ints part[4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) part[j] = chances<S>(scores + j * LANES, factor[i], shift[i]);
            S::store_four_u8(room.chances + static_cast<size_t>(i) * room.pitch + n, part[0], part[1], part[2], part[3]);
            sum[i] = S::add_int(sum[i], S::add_int(S::add_int(part[0], part[1]), S::add_int(part[2], part[3])));
        }
    for (; n < width; n += LANES)
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const size_t at = static_cast<size_t>(i) * room.pitch + n;
            const auto part = chances<S>(room.scores + at, factor[i], shift[i]);
            sum[i] = S::add_int(sum[i], part);
            S::store_u8(room.chances + at, part);
        }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) inverse[i] = 1.f / static_cast<float>(S::sum_int(sum[i]));
}

// Chances times values of up to TILE_TOKENS queries, written where the queries were.
template <class S, int ROWS>
inline void mix(float* out, size_t row_pitch, size_t head, int steps, const float* inverse,
                const AttentionRoom& room) {
    for (size_t k = 0; k < head; k += VALUE_OUTPUTS) {
        const int8_t* panel = room.values + k * room.pitch;
        const auto sink = [=, &room](int j) {
            const auto scale = S::load(room.value_scales + k + j);
            return [=](int i, typename S::Ints sum) {
                S::store(out + i * row_pitch + k + j, S::mul(S::mul(S::to_float(sum), scale), S::all(inverse[i])));
            };
        };
        S::template tile<ROWS, VALUE_OUTPUTS>(room.chances, room.pitch, panel, VALUE_OUTPUTS * QUAD, steps, sink);
    }
}

template <class S>
void attend(float* qkv, size_t tokens, size_t dim, size_t head, const AttentionRoom& room) {
    const size_t row_pitch = 3 * dim, width = rounded_up(tokens, LANES);
    for (size_t n = 0; n < tokens; n += LANES) {
        const size_t count = tokens - n < LANES ? tokens - n : LANES;
        pack_queries<S>(qkv + n * row_pitch, count, row_pitch, head, n, room);
        pack_keys<S>(qkv + n * row_pitch + dim, count, row_pitch, head, n, room);
    }
    mask(tokens, room);
    pack_values<S>(qkv + 2 * dim, tokens, row_pitch, head, room);
    const int steps = static_cast<int>((tokens + QUAD - 1) / QUAD);
    in_tiles(tokens, [&](size_t m, auto height) {
        typename S::Floats highest[height.ROWS];
        score<S, height.ROWS>(m, tokens, head, room, highest);
        float inverse[height.ROWS];
        soften<S, height.ROWS>(room.query_scales + m, highest, width, room, inverse);
        mix<S, height.ROWS>(qkv + m * row_pitch, row_pitch, head, steps, inverse, room);
    });
}

}  // namespace
}  // namespace dd
