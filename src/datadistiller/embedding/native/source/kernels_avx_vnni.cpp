// The kernels for processors with VNNI in registers of 256 bits (Alder Lake and later).
#include "kernels_shared.h"
#include "simd_avx2.h"

namespace dd {
namespace {

// With the VEX prefix: the other encoding needs AVX-512. A test chooses that one, to try this where only AVX-512 is.
#if !defined(DOT)
#define DOT "%{vex%} vpdpbusd %2, %1, %0"
#endif

struct AvxVnni : Avx2Lanes {
    template <int ROWS, class Sink>
    static void weights_tile(const uint8_t* a, size_t a_pitch, const int8_t* panel, int steps, const Sink& sink) {
        tile<ROWS, TILE_OUTPUTS>(a, a_pitch, panel, TILE_OUTPUTS * QUAD, steps, sink);
    }

    // As Avx512::tile, in strips of 16 outputs: twelve accumulators, two registers of weights, one of inputs.
    template <int ROWS, int N, class Sink>
    static void tile(const uint8_t* a, size_t a_pitch, const int8_t* b, size_t b_pitch, int steps, const Sink& sink) {
        for (int strip = 0; strip < N; strip += LANES)
            tile_strip<ROWS>(a, a_pitch, b + strip * QUAD, b_pitch, steps, strip, sink);
    }

  private:
    template <int ROWS, class Sink>
    static void tile_strip(const uint8_t* a, size_t a_pitch, const int8_t* b, size_t b_pitch, int steps, int strip,
                           const Sink& sink) {
        __m256i total[ROWS][2];
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) total[i][0] = total[i][1] = _mm256_setzero_si256();
        for (int step = 0; step < steps; step++) {
            const __m256i left = load_eight(b + step * b_pitch), right = load_eight(b + step * b_pitch + 32);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                int32_t quad;
                __builtin_memcpy(&quad, a + i * a_pitch + step * QUAD, QUAD);
                const __m256i input = _mm256_set1_epi32(quad);
                __asm__(DOT : "+x"(total[i][0]) : "x"(input), "x"(left));
                __asm__(DOT : "+x"(total[i][1]) : "x"(input), "x"(right));
            }
        }
        const auto take = sink(strip);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) take(i, Ints{total[i][0], total[i][1]});
    }
};

}  // namespace

const Kernels* avx_vnni_kernels() {
    static constexpr Kernels kernels = kernels_of<AvxVnni>("avx-vnni");
    return &kernels;
}

}  // namespace dd
