// The kernels, written once over a set of vector operations `S` (simd_avx512.h, simd_avx2.h, simd_neon.h). Included only by
// the files that compile them for one instruction set; everything is in an unnamed namespace there, so that the linker
// can never put a function of one instruction set into the place of another's.
#pragma once

#include "kernels_attention.h"
#include "tiles.h"

namespace dd {
namespace {

template <class S>
void embed(const int8_t* word, float scale, const float* position, size_t dim, float* row) {
    const auto factor = S::all(scale);
    for (size_t k = 0; k < dim; k += LANES)
        S::store(row + k, S::fma(S::to_float(S::load_s8(word + k)), factor, S::load(position + k)));
}

// The lowest and the highest numbers of a row, in lanes; zero is always among them, so that it is exact.
template <class S>
struct Range {
    typename S::Floats low = S::all(0.f), high = low;

    void add(typename S::Floats x) {
        low = S::min(low, x);
        high = S::max(high, x);
    }
};

// Several at once, because each comparison waits for the one before.
template <class S>
inline Range<S> range_of(const float* row, size_t width) {
    Range<S> part[4];
    for (size_t k = 0; k < width; k += 4 * LANES)
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) part[j].add(S::load(row + k + j * LANES));
    return {S::min(S::min(part[0].low, part[1].low), S::min(part[2].low, part[3].low)),
            S::max(S::max(part[0].high, part[1].high), S::max(part[2].high, part[3].high))};
}

// ROWS rows, `pitch` floats apart, into `out`'s rows from `at` on. All scales first: each is a long way to wait for.
template <class S, int ROWS>
inline void round_rows(const float* rows, size_t pitch, const Range<S>* ranges, const Quantized& out, size_t at) {
    float inverses[ROWS], zeros[ROWS];
#pragma GCC unroll 6
    for (size_t i = 0; i < ROWS; i++) {
        const float low = S::least(ranges[i].low);
        const float scale = (S::greatest(ranges[i].high) - low) / 255.f + 1e-12f;
        inverses[i] = 1.f / scale;
        zeros[i] = __builtin_rintf(-low * inverses[i]) + 0.f;  // never a negative zero
        out.scales[at + i] = scale;
        out.zeros[at + i] = zeros[i];
    }
    for (size_t i = 0; i < ROWS; i++) {
        const float* row = rows + i * pitch;
        uint8_t* values = out.values + (at + i) * out.width;
        const auto rounded = [=, factor = S::all(inverses[i]), shift = S::all(zeros[i])](size_t k) {
            return S::to_int(S::fma(S::load(row + k), factor, shift));
        };
        for (size_t k = 0; k < out.width; k += 4 * LANES)
            S::store_four_u8(values + k, rounded(k), rounded(k + LANES), rounded(k + 2 * LANES), rounded(k + 3 * LANES));
    }
}

template <class S>
void quantize(const float* rows, size_t count, size_t pitch, const Quantized& out) {
    in_tiles(count, [&](size_t first, auto height) {
        Range<S> ranges[height.ROWS];
        for (size_t i = 0; i < height.ROWS; i++) ranges[i] = range_of<S>(rows + (first + i) * pitch, out.width);
        round_rows<S, height.ROWS>(rows + first * pitch, pitch, ranges, out, first);
    });
}

// The factors and the means of ROWS rows, which are in work at once because the sums of each wait for one another.
template <class S, int ROWS>
inline void moments(const float* rows, size_t dim, float epsilon, float* means, float* factors) {
    typename S::Floats sums[ROWS], centre[ROWS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) sums[i] = S::all(0.f);
    for (size_t k = 0; k < dim; k += LANES)
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) sums[i] = S::add(sums[i], S::load(rows + static_cast<size_t>(i) * dim + k));
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
        means[i] = S::sum(sums[i]) / static_cast<float>(dim);
        centre[i] = S::all(means[i]);
        sums[i] = S::all(0.f);
    }
    for (size_t k = 0; k < dim; k += LANES)
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const auto off = S::sub(S::load(rows + static_cast<size_t>(i) * dim + k), centre[i]);
            sums[i] = S::fma(off, off, sums[i]);
        }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
        factors[i] = 1.f / __builtin_sqrtf(S::sum(sums[i]) / static_cast<float>(dim) + epsilon);
}

template <class S>
void normalize(float* rows, size_t count, const Norm& norm, float epsilon, const Quantized& out) {
    const size_t dim = out.width;
    in_tiles(count, [&](size_t first, auto height) {
        float means[height.ROWS], factors[height.ROWS];
        moments<S, height.ROWS>(rows + first * dim, dim, epsilon, means, factors);
        Range<S> ranges[height.ROWS];
        for (size_t i = 0; i < height.ROWS; i++) {
            float* row = rows + (first + i) * dim;
            const auto mean = S::all(means[i]), factor = S::all(factors[i]);
            Range<S> range;
            for (size_t k = 0; k < dim; k += LANES) {
                const auto unit = S::mul(S::sub(S::load(row + k), mean), factor);
                const auto x = S::fma(unit, S::load(norm.gain + k), S::load(norm.bias + k));
                S::store(row + k, x);
                range.add(x);
            }
            ranges[i] = range;
        }
        round_rows<S, height.ROWS>(rows + first * dim, dim, ranges, out, first);
    });
}

template <class S>
inline typename S::Floats gelu(typename S::Floats x) {
    const auto segment = S::bits(S::fma(S::limited(x, GELU_END), S::all(GELU_SEGMENTS), S::all(LOWEST_BITS)));
    const auto slope = S::fma(x, S::lookup(GELU_TABLE[2], segment), S::lookup(GELU_TABLE[1], segment));
    return S::fma(x, slope, S::lookup(GELU_TABLE[0], segment));
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
        in_tiles(rows, [&](size_t row, auto height) {
            float* place = out + row * layer.outputs + column;
            const Finisher<S, F> finish{in.scales + row, in.zeros + row, layer.scales + column, layer.sums + column,
                                        layer.bias + column, place, layer.outputs};
            S::template weights_tile<height.ROWS>(in.values + row * in.width, in.width, panel, steps, finish);
        });
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
