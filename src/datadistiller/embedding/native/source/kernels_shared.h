// The kernels, written once over a set of vector operations `S` (simd_avx512.h, simd_avx2.h, simd_neon.h). Included only by the
// files that compile them for one instruction set; everything is in an unnamed namespace there, so that the linker
// can never put a function of one instruction set into the place of another's.
#pragma once

#include <cstring>

#include "kernels.h"

namespace dd {
namespace {

template <class S>
void embed(const int8_t* word, float scale, const float* position, size_t dim, float* row) {
    const auto factor = S::all(scale);
    for (size_t k = 0; k < dim; k += LANES)
        S::store(row + k, S::fma(S::to_float(S::load_s8(word + k)), factor, S::load(position + k)));
}

template <class S>
void normalize(float* row, size_t dim, const Norm& norm, float epsilon) {
    auto total = S::all(0.f);
    for (size_t k = 0; k < dim; k += LANES) total = S::add(total, S::load(row + k));
    const auto mean = S::all(S::sum(total) / static_cast<float>(dim));
    auto squares = S::all(0.f);
    for (size_t k = 0; k < dim; k += LANES) {
        const auto off = S::sub(S::load(row + k), mean);
        squares = S::fma(off, off, squares);
    }
    const float variance = S::sum(squares) / static_cast<float>(dim);
    const auto factor = S::all(1.f / __builtin_sqrtf(variance + epsilon));
    for (size_t k = 0; k < dim; k += LANES) {
        const auto unit = S::mul(S::sub(S::load(row + k), mean), factor);
        S::store(row + k, S::fma(unit, S::load(norm.gain + k), S::load(norm.bias + k)));
    }
}

template <class S>
void quantize(const float* row, const Quantized& out, size_t at) {
    auto highest = S::all(0.f), lowest = highest;  // zero is always in range, so that it is exact
    for (size_t k = 0; k < out.width; k += LANES) {
        const auto x = S::load(row + k);
        highest = S::max(highest, x);
        lowest = S::min(lowest, x);
    }
    const float low = S::least(lowest);
    const float scale = (S::greatest(highest) - low) / 255.f + 1e-12f, inverse = 1.f / scale;
    const float zero = __builtin_rintf(-low * inverse) + 0.f;  // never a negative zero
    out.scales[at] = scale;
    out.zeros[at] = zero;
    const auto factor = S::all(inverse), shift = S::all(zero);
    uint8_t* values = out.values + at * out.width;
    for (size_t k = 0; k < out.width; k += LANES)
        S::store_u8(values + k, S::to_int(S::fma(S::load(row + k), factor, shift)));
}

template <class S>
inline typename S::Floats gelu(typename S::Floats x) {
    const auto place = S::min(S::mul(S::abs(x), S::all(8.f)), S::all(31.9999f));
    const auto segment = S::truncated(place);
    const auto f = S::sub(place, S::to_float(segment));
    const auto slope = S::fma(f, S::lookup(GELU_TABLE[2], segment), S::lookup(GELU_TABLE[1], segment));
    return S::add(S::max(x, S::all(0.f)), S::fma(f, slope, S::lookup(GELU_TABLE[0], segment)));
}

// What becomes of a tile's integer sums. For LANES of its outputs it gives what takes the sums of one token after the
// other. Everything is held by value: a store might otherwise change what a reference leads to, and all be loaded again.
template <class S, Finish F>
struct Finisher {
    const float *scales, *zeros;           // of the tile's tokens
    const float *output_scales, *sums, *bias;  // of its outputs
    float* out;                            // its first token's first output
    size_t pitch;

    auto operator()(int j) const {
        const auto sum_of_weights = S::load(sums + j), output_scale = S::load(output_scales + j), shift = S::load(bias + j);
        return [=, at = *this](int i, typename S::Ints sum) {
            float* place = at.out + static_cast<size_t>(i) * at.pitch + j;
            const auto centred = S::fnma(S::all(at.zeros[i]), sum_of_weights, S::to_float(sum));
            auto y = S::fma(S::mul(centred, S::all(at.scales[i])), output_scale, shift);
            if (F == Finish::RESIDUAL) y = S::add(y, S::load(place));
            if (F == Finish::GELU) y = gelu<S>(y);
            S::store(place, y);
        };
    }
};

template <class S, Finish F>
void linear_to(const Quantized& in, size_t rows, const Linear& layer, float* out) {
    const int steps = static_cast<int>(layer.inputs / QUAD);
    for (size_t column = 0; column < layer.outputs; column += TILE_OUTPUTS) {
        const auto panel = S::prepared(layer.packed + column * layer.inputs, steps);
        for (size_t row = 0; row < rows; row += TILE_TOKENS) {
            float* place = out + row * layer.outputs + column;
            const Finisher<S, F> finish{in.scales + row, in.zeros + row, layer.scales + column, layer.sums + column,
                                        layer.bias + column, place, layer.outputs};
            S::weights_tile(in.values + row * in.width, in.width, panel, steps, finish);
        }
    }
}

template <class S>
void linear(const Quantized& in, size_t rows, const Linear& layer, Finish finish, float* out) {
    switch (finish) {
        case Finish::PLAIN: return linear_to<S, Finish::PLAIN>(in, rows, layer, out);
        case Finish::RESIDUAL: return linear_to<S, Finish::RESIDUAL>(in, rows, layer, out);
        case Finish::GELU: return linear_to<S, Finish::GELU>(in, rows, layer, out);
    }
}

constexpr float TINY = 1e-9f;            // a row of zeros has a scale too
constexpr float LOG2_E = 1.44269504f;    // exp(x) = 2^(x log2 e)
constexpr float NEVER = -1e30f;          // a score that no token can have
constexpr int VALUE_OUTPUTS = 32;        // of a panel of packed values

template <class S>
inline float largest_of(const float* row, size_t width) {
    auto largest = S::all(0.f);
    for (size_t k = 0; k < width; k += LANES) largest = S::max(largest, S::abs(S::load(row + k)));
    return S::greatest(largest) + TINY;
}

// One query: signed eight bits, moved up by 128 because the dot product takes its left side unsigned.
template <class S>
inline void pack_query(const float* row, size_t head, size_t at, float temperature, const AttentionRoom& room) {
    const float largest = largest_of<S>(row, head);
    room.query_scales[at] = largest / 127.f * temperature;
    const auto factor = S::all(127.f / largest), shift = S::all(128.f);
    for (size_t k = 0; k < head; k += LANES)
        S::store_u8(room.queries + at * head + k, S::to_int(S::fma(S::load(row + k), factor, shift)));
}

template <class S>
inline void pack_key(const float* row, size_t head, size_t at, const AttentionRoom& room) {
    const float largest = largest_of<S>(row, head);
    room.key_scales[at] = largest / 127.f;
    room.key_masks[at] = 0.f;
    const auto factor = S::all(127.f / largest);
    alignas(ALIGNMENT) int8_t whole[MAX_HEAD];
    auto sum = S::none();
    for (size_t k = 0; k < head; k += LANES) {
        const auto rounded = S::to_int(S::mul(S::load(row + k), factor));
        S::store_s8(whole + k, rounded);
        sum = S::add_int(sum, rounded);
    }
    room.key_sums[at] = -128 * S::sum_int(sum);
    for (size_t k = 0; k < head; k += QUAD) memcpy(room.keys + k * room.pitch + at * QUAD, whole + k, QUAD);
}

inline void mask_rest(size_t tokens, size_t head, const AttentionRoom& room) {
    for (size_t n = tokens; n < room.pitch; n++) {
        room.key_scales[n] = 0.f;
        room.key_masks[n] = NEVER;
        room.key_sums[n] = 0;
        for (size_t k = 0; k < head; k += QUAD) memset(room.keys + k * room.pitch + n * QUAD, 0, QUAD);
    }
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

// 255 * 2^x for x <= 0; below 2^-40 it stays there, which eight bits round to nothing.
template <class S>
inline typename S::Floats power_of_two_255(typename S::Floats x) {
    x = S::max(x, S::all(-40.f));
    const auto whole = S::rounded(x);
    const auto f = S::sub(x, whole);
    auto p = S::fma(f, S::all(14.2357065f), S::all(61.2577575f));
    p = S::fma(f, p, S::all(176.752536f));
    p = S::fma(f, p, S::all(255.f));
    return S::times_two_to(p, whole);
}

// The scores of TILE_TOKENS queries from `m` on, and into `highest` the highest of each query, in lanes.
template <class S>
inline void score(size_t m, size_t tokens, size_t head, const AttentionRoom& room, typename S::Floats* highest) {
    for (int i = 0; i < TILE_TOKENS; i++) highest[i] = S::all(NEVER);
    for (size_t n = 0; n < tokens; n += TILE_OUTPUTS) {
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
        S::template tile<TILE_OUTPUTS>(room.queries + m * head, head, room.keys + n * QUAD, room.pitch * QUAD,
                                       static_cast<int>(head / QUAD), sink);
    }
}

// Scores to chances in eight bits, and what their sums stand for, inverted. All queries of a tile are in work at once,
// because each alone would wait for its own steps.
template <class S>
inline void soften(const float* query_scales, const typename S::Floats* highest, size_t width, const AttentionRoom& room,
                   float* inverse) {
    typename S::Floats factor[TILE_TOKENS], shift[TILE_TOKENS];
    typename S::Ints sum[TILE_TOKENS];
#pragma GCC unroll 6
    for (int i = 0; i < TILE_TOKENS; i++) {
        factor[i] = S::all(query_scales[i]);
        shift[i] = S::all(-(S::greatest(highest[i]) * query_scales[i]));
        sum[i] = S::none();
    }
    for (size_t n = 0; n < width; n += LANES)
#pragma GCC unroll 6
        for (int i = 0; i < TILE_TOKENS; i++) {
            const size_t at = static_cast<size_t>(i) * room.pitch + n;
            const auto chance = power_of_two_255<S>(S::fma(S::load(room.scores + at), factor[i], shift[i]));
            const auto rounded = S::to_int(chance);
            sum[i] = S::add_int(sum[i], rounded);
            S::store_u8(room.chances + at, rounded);
        }
#pragma GCC unroll 6
    for (int i = 0; i < TILE_TOKENS; i++) inverse[i] = 1.f / static_cast<float>(S::sum_int(sum[i]));
}

// Chances times values of up to TILE_TOKENS queries, written where the queries were.
template <class S>
inline void mix(float* out, size_t rows, size_t row_pitch, size_t head, int steps, const float* inverse,
                const AttentionRoom& room) {
    for (size_t k = 0; k < head; k += VALUE_OUTPUTS) {
        const int8_t* panel = room.values + k * room.pitch;
        const auto sink = [=, &room](int j) {
            const auto scale = S::load(room.value_scales + k + j);
            return [=](int i, typename S::Ints sum) {
                if (static_cast<size_t>(i) >= rows) return;
                S::store(out + i * row_pitch + k + j, S::mul(S::mul(S::to_float(sum), scale), S::all(inverse[i])));
            };
        };
        S::template tile<VALUE_OUTPUTS>(room.chances, room.pitch, panel, VALUE_OUTPUTS * QUAD, steps, sink);
    }
}

template <class S>
void attend(float* qkv, size_t tokens, size_t dim, size_t head, const AttentionRoom& room) {
    const size_t row_pitch = 3 * dim, width = rounded_up(tokens, LANES);
    const float temperature = LOG2_E / __builtin_sqrtf(static_cast<float>(head));
    for (size_t n = 0; n < tokens; n++) {
        pack_query<S>(qkv + n * row_pitch, head, n, temperature, room);
        pack_key<S>(qkv + n * row_pitch + dim, head, n, room);
    }
    mask_rest(tokens, head, room);
    pack_values<S>(qkv + 2 * dim, tokens, row_pitch, head, room);
    for (size_t m = 0; m < tokens; m += TILE_TOKENS) {
        typename S::Floats highest[TILE_TOKENS];
        score<S>(m, tokens, head, room, highest);
        float inverse[TILE_TOKENS];
        soften<S>(room.query_scales + m, highest, width, room, inverse);
        const size_t rows = tokens - m < TILE_TOKENS ? tokens - m : TILE_TOKENS;
        const int steps = static_cast<int>((tokens + QUAD - 1) / QUAD);
        mix<S>(qkv + m * row_pitch, rows, row_pitch, head, steps, inverse, room);
    }
}

template <class S>
void add(const float* row, size_t dim, float* sum) {
    for (size_t k = 0; k < dim; k += LANES) S::store(sum + k, S::add(S::load(sum + k), S::load(row + k)));
}

template <class S>
constexpr Kernels kernels_of(const char* name) {
    return {name, embed<S>, normalize<S>, quantize<S>, linear<S>, attend<S>, add<S>};
}

}  // namespace
}  // namespace dd
