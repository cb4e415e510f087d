// Vector operations with AVX2 and FMA: two registers make LANES. The tile is left to who has or lacks VNNI.
#pragma once

#include <immintrin.h>

#include "layout.h"

namespace dd {
namespace {

struct Avx2Lanes {
    struct Floats { __m256 low, high; };
    struct Ints { __m256i low, high; };

    static Floats all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
    static Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
    static void store(float* p, Floats x) {
        _mm256_storeu_ps(p, x.low);
        _mm256_storeu_ps(p + 8, x.high);
    }
    static Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
    static Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
    static Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
    static Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
    static Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
    static Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
    static Floats abs(Floats a) {
        const __m256 sign = _mm256_set1_ps(-0.f);
        return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
    }
    static Floats limited(Floats x, float limit) { return max(min(x, all(limit)), all(-limit)); }  // to -limit..limit
    static Floats fma(Floats a, Floats b, Floats c) {  // a b + c
        return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
    }
    static Floats fnma(Floats a, Floats b, Floats c) {  // c - a b
        return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
    }

    static Ints none() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static Ints load_int(const int32_t* p) { return {load_eight(p), load_eight(p + 8)}; }
    static void store_int(int32_t* p, Ints x) {
        store_eight(p, x.low);
        store_eight(p + 8, x.high);
    }
    static Ints load_s8(const int8_t* p) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
    }
    static void store_s8(int8_t* p, Ints x) {  // values are within -128..127
        const __m128i words = packed_words(x.low), more = packed_words(x.high);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, more));
    }
    static void store_u8(uint8_t* p, Ints x) {  // limited to 0..255
        const __m128i words = packed_words(x.low), more = packed_words(x.high);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, more));
    }
    // 64 numbers, limited to 0..255.
    static void store_four_u8(uint8_t* p, Ints a, Ints b, Ints c, Ints d) {
        store_two_u8(p, a, b);
        store_two_u8(p + 2 * LANES, c, d);
    }
    static Ints add_int(Ints a, Ints b) {
        return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
    }
    static Ints to_int(Floats x) { return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)}; }
    static Ints bits(Floats x) { return {_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)}; }
    static Floats to_float(Ints x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
    static Floats rounded(Floats x) { return {eight_rounded(x.low), eight_rounded(x.high)}; }
    // What `times_two_to` can take of x.
    static Floats scalable(Floats x) { return max(x, all(-40.f)); }
    // x 2^exponent, a whole number, where that is neither too large nor too small for an ordinary float.
    static Floats times_two_to(Floats x, Floats exponent) {
        return {eight_scaled(x.low, exponent.low), eight_scaled(x.high, exponent.high)};
    }
    // From each lane 128 times its four bytes at p.
    static Ints less_128_times(Ints x, const int8_t* p) {
        return {_mm256_sub_epi32(x.low, eight_128_times(p)), _mm256_sub_epi32(x.high, eight_128_times(p + 32))};
    }
    // Each lane's byte `at` becomes the low byte of x.
    static Ints with_byte(Ints word, Ints x, int at) {
        const __m256i byte = _mm256_set1_epi32(255);
        return {_mm256_or_si256(word.low, _mm256_slli_epi32(_mm256_and_si256(x.low, byte), 8 * at)),
                _mm256_or_si256(word.high, _mm256_slli_epi32(_mm256_and_si256(x.high, byte), 8 * at))};
    }
    // table[index], of which the lowest five bits count.
    static Floats lookup(const float* table, Ints index) {
        return {eight_of_32(table, index.low), eight_of_32(table, index.high)};
    }

    // What the tiles of a panel share: nothing but its weights.
    static const int8_t* prepared(const int8_t* panel, int) { return panel; }

    static float sum(Floats x) {
        const __m256 eight = _mm256_add_ps(x.low, x.high);
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    static float greatest(Floats x) {
        const __m256 eight = _mm256_max_ps(x.low, x.high);
        const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    }
    static float least(Floats x) {
        const __m256 eight = _mm256_min_ps(x.low, x.high);
        const __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)));
    }
    static int32_t sum_int(Ints x) {
        const __m256i eight = _mm256_add_epi32(x.low, x.high);
        const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
        const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
    }

  protected:
    static __m256i load_eight(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    static void store_eight(int32_t* p, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
    static void store_two_u8(uint8_t* p, Ints a, Ints b) {
        // Packing goes by halves of a register, so that each has four numbers of each half of a and of b.
        const __m256i words = _mm256_packs_epi32(a.low, a.high), more = _mm256_packs_epi32(b.low, b.high);
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, more), order);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
    }
    static __m128i packed_words(__m256i x) {
        return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    }
    static __m256i eight_128_times(const int8_t* p) {
        const __m256i words = _mm256_maddubs_epi16(_mm256_set1_epi8(-128), load_eight(p));  // an unsigned 128
        return _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    }
    static __m256 eight_rounded(__m256 x) {
        return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static __m256 eight_scaled(__m256 x, __m256 exponent) {
        const __m256i places = _mm256_slli_epi32(_mm256_cvtps_epi32(exponent), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), places));
    }
    // A permutation reads eight entries; bits 3 and 4 of the index choose among four of them.
    static __m256 eight_of_32(const float* table, __m256i index) {
        const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
        const __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
        __m256 part[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) part[i] = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8 * i), index);
        const __m256 low = _mm256_blendv_ps(part[0], part[1], bit3), high = _mm256_blendv_ps(part[2], part[3], bit3);
        return _mm256_blendv_ps(low, high, bit4);
    }
};

}  // namespace
}  // namespace dd
