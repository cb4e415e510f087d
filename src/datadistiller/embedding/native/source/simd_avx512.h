// Vector operations with AVX-512: one register is all LANES. Needs F, BW, DQ, VL and VNNI.
#pragma once

#include <immintrin.h>

#include "layout.h"

namespace dd {
namespace {

struct Avx512 {
    using Floats = __m512;
    using Ints = __m512i;

    static Floats all(float x) { return _mm512_set1_ps(x); }
    static Floats load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
    static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
    static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
    static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
    static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
    static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
    static Floats abs(Floats a) { return _mm512_abs_ps(a); }
    static Floats limited(Floats x, float limit) {  // to -limit..limit
        constexpr int SMALLER_SIZE = 2, SIGN_OF_FIRST = 0;
        return _mm512_range_ps(x, all(limit), SMALLER_SIZE | SIGN_OF_FIRST);
    }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
    static Floats fnma(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b

    static Ints none() { return _mm512_setzero_si512(); }
    static Ints load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
    static void store_int(int32_t* p, Ints x) { _mm512_storeu_si512(p, x); }
    static Ints load_s8(const int8_t* p) {
        return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static void store_s8(int8_t* p, Ints x) {  // values are within -128..127
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
    }
    static void store_u8(uint8_t* p, Ints x) {  // limited to 0..255
        const Ints positive = _mm512_max_epi32(x, none());
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(positive));
    }
    // 64 numbers, limited to 0..255.
    static void store_four_u8(uint8_t* p, Ints a, Ints b, Ints c, Ints d) {
        // Packing goes by quarters of a register, so that each has four numbers of a, of b, of c and of d.
        const __m512i mixed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
        const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, mixed));
    }
    static Ints add_int(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
    static Ints to_int(Floats x) { return _mm512_cvtps_epi32(x); }  // nearest, ties to even
    static Ints bits(Floats x) { return _mm512_castps_si512(x); }
    static Floats to_float(Ints x) { return _mm512_cvtepi32_ps(x); }
    static Floats rounded(Floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    // What `times_two_to` can take of x: here all of it.
    static Floats scalable(Floats x) { return x; }
    // x 2^exponent, a whole number, where that is neither too large nor too small for an ordinary float.
    static Floats times_two_to(Floats x, Floats exponent) { return _mm512_scalef_ps(x, exponent); }
    // From each lane 128 times its four bytes at p.
    static Ints less_128_times(Ints x, const int8_t* p) {
        return _mm512_sub_epi32(x, _mm512_dpbusd_epi32(none(), _mm512_set1_epi8(-128), _mm512_loadu_si512(p)));
    }
    // Each lane's byte `at` becomes the low byte of x.
    static Ints with_byte(Ints word, Ints x, int at) {
        return _mm512_or_si512(word, _mm512_slli_epi32(_mm512_and_si512(x, _mm512_set1_epi32(255)), 8 * at));
    }
    // table[index], of which the lowest five bits count.
    static Floats lookup(const float* table, Ints index) {
        return _mm512_permutex2var_ps(load(table), index, load(table + LANES));
    }

    static float sum(Floats x) {
        const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    static float greatest(Floats x) { return _mm512_reduce_max_ps(x); }
    static float least(Floats x) { return _mm512_reduce_min_ps(x); }
    static int32_t sum_int(Ints x) { return _mm512_reduce_add_epi32(x); }

    // What the tiles of a panel share: nothing but its weights.
    static const int8_t* prepared(const int8_t* panel, int) { return panel; }

    // A tile of a layer, whose weights are in bounded pairs.
    template <int ROWS, class Sink>
    static void weights_tile(const uint8_t* a, size_t a_pitch, const int8_t* panel, int steps, const Sink& sink) {
        tile<ROWS, TILE_OUTPUTS>(a, a_pitch, panel, TILE_OUTPUTS * QUAD, steps, sink);
    }

    // ROWS unsigned rows `a` times a panel of N outputs, `steps` quadruples of inputs. The sums go to
    // `sink(column)(row, LANES sums)` while they are in registers.
    template <int ROWS, int N, class Sink>
    static void tile(const uint8_t* a, size_t a_pitch, const int8_t* b, size_t b_pitch, int steps, const Sink& sink) {
        constexpr int WIDE = N / LANES;
        Ints total[ROWS][WIDE];
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
            for (int j = 0; j < WIDE; j++) total[i][j] = none();
        for (int step = 0; step < steps; step++) {
            Ints weights[WIDE];
#pragma GCC unroll 4
            for (int j = 0; j < WIDE; j++) weights[j] = _mm512_loadu_si512(b + step * b_pitch + j * LANES * QUAD);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                int32_t quad;
                __builtin_memcpy(&quad, a + i * a_pitch + step * QUAD, QUAD);
                const Ints input = _mm512_set1_epi32(quad);
                // As assembly, because GCC 12 copies the accumulators around the intrinsic of the same instruction.
#pragma GCC unroll 4
                for (int j = 0; j < WIDE; j++)
                    __asm__("vpdpbusd %2, %1, %0" : "+v"(total[i][j]) : "v"(input), "v"(weights[j]));
            }
        }
#pragma GCC unroll 4
        for (int j = 0; j < WIDE; j++) {
            const auto take = sink(j * LANES);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) take(i, total[i][j]);
        }
    }
};

}  // namespace
}  // namespace dd
