// The kernels for processors with AVX2 and FMA (Haswell, Zen and later).
#include "kernels_shared.h"
#include "simd_avx2.h"

namespace dd {
namespace {

// The instruction that multiplies bytes (vpmaddubsw) adds two products in a word. For weights that fits, because of how
// they were rounded (layout.h); in the attention it may not, so there bytes are widened to words first.
struct Avx2 : Avx2Lanes {
    template <int ROWS, class Sink>
    static void weights_tile(const uint8_t* a, size_t a_pitch, const int8_t* panel, int steps, const Sink& sink) {
        for (int strip = 0; strip < TILE_OUTPUTS; strip += LANES)
            weights_strip<ROWS>(a, a_pitch, panel + strip * QUAD, steps, strip, sink);
    }

    // As Avx512::tile, in strips of 8 outputs: twelve accumulators, each of four outputs with two half sums.
    template <int ROWS, int N, class Sink>
    static void tile(const uint8_t* a, size_t a_pitch, const int8_t* b, size_t b_pitch, int steps, const Sink& sink) {
        alignas(32) int32_t sums[ROWS * N];
        alignas(32) int16_t wide[ROWS * PART * QUAD];
        for (int from = 0; from < steps || from == 0; from += PART) {
            const int part = steps - from < PART ? steps - from : PART;
            widen<ROWS>(a + from * QUAD, a_pitch, part, wide);
            for (int strip = 0; strip < N; strip += 8)
                tile_strip<ROWS>(wide, b + from * b_pitch + strip * QUAD, b_pitch, part, sums + strip, N, from > 0);
        }
        for (int j = 0; j < N; j += LANES) {
            const auto take = sink(j);
            for (int i = 0; i < ROWS; i++) take(i, load_int(sums + i * N + j));
        }
    }

  private:
    static constexpr int PART = 64;  // steps, as many quadruples as fit the room for widened rows

    // 16 outputs: twelve accumulators, one register of weights, one of inputs, one of ones, one of products.
    template <int ROWS, class Sink>
    static void weights_strip(const uint8_t* a, size_t a_pitch, const int8_t* b, int steps, int strip,
                              const Sink& sink) {
        __m256i total[ROWS][2];
        const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
        for (int step = 0; step < steps; step++, b += TILE_OUTPUTS * QUAD) {
            const __m256i left = load_eight(b);
            const __m256i* right = reinterpret_cast<const __m256i*>(b + 32);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                int32_t quad;
                __builtin_memcpy(&quad, a + i * a_pitch + step * QUAD, QUAD);
                const __m256i input = _mm256_set1_epi32(quad);
                multiply_add_bytes(total[i][0], input, left, ones);
                multiply_add_bytes(total[i][1], input, *right, ones);
            }
        }
        const auto take = sink(strip);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) take(i, Ints{total[i][0], total[i][1]});
    }

    // As assembly, because GCC 12 takes all products first and then has no registers left for the sums.
    static void multiply_add_bytes(__m256i& total, __m256i input, const __m256i& weights, __m256i ones) {
        __m256i product;
        __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
                : "+x"(total), "=&x"(product)
                : "x"(input), "xm"(weights), "x"(ones));
    }

    template <int ROWS>
    static void widen(const uint8_t* a, size_t a_pitch, int steps, int16_t* wide) {
        for (int i = 0; i < ROWS; i++) {
            const uint8_t* row = a + i * a_pitch;
            int16_t* out = wide + i * PART * QUAD;
            int step = 0;
            for (; step + 4 <= steps; step += 4) {
                const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + step * QUAD));
                _mm256_store_si256(reinterpret_cast<__m256i*>(out + step * QUAD), _mm256_cvtepu8_epi16(bytes));
            }
            for (; step < steps; step++)
                for (int k = 0; k < QUAD; k++) out[step * QUAD + k] = row[step * QUAD + k];
        }
    }

    static __m256i widened(const int8_t* p) {
        return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }

    static void multiply_add(__m256i& total, __m256i input, __m256i weights) {
        __m256i product;
        __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(total), "=&x"(product) : "x"(input), "x"(weights));
    }

    template <int ROWS>
    static void tile_strip(const int16_t* a, const int8_t* b, size_t b_pitch, int steps, int32_t* sums, size_t pitch,
                           bool more) {
        __m256i total[ROWS][2];
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
        for (int step = 0; step < steps; step++) {
            const __m256i left = widened(b + step * b_pitch), right = widened(b + step * b_pitch + 16);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                int64_t quad;
                __builtin_memcpy(&quad, a + (i * PART + step) * QUAD, sizeof quad);
                const __m256i input = _mm256_set1_epi64x(quad);
                multiply_add(total[i][0], input, left);
                multiply_add(total[i][1], input, right);
            }
        }
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            // Neighbours are half sums; adding them leaves outputs 0 1 4 5 2 3 6 7.
            const __m256i mixed = _mm256_hadd_epi32(total[i][0], total[i][1]);
            const __m256i whole = _mm256_permute4x64_epi64(mixed, 0xd8);
            int32_t* out = sums + i * pitch;
            store_eight(out, more ? _mm256_add_epi32(whole, load_eight(out)) : whole);
        }
    }
};

}  // namespace

const Kernels* avx2_kernels() {
    static constexpr Kernels kernels = kernels_of<Avx2>("avx2");
    return &kernels;
}

}  // namespace dd
