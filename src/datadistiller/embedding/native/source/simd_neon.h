// Vector operations with NEON: four registers are all LANES.
#pragma once

#include <arm_neon.h>

#include "layout.h"

namespace dd {
namespace {

struct NeonLanes {
    using Floats = float32x4x4_t;
    using Ints = int32x4x4_t;

    static Floats all(float x) { return {{vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}}; }
    static Floats load(const float* p) { return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}}; }
    static void store(float* p, Floats x) {
        for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.val[i]);
    }
    static Floats add(Floats a, Floats b) { return each(a, b, [](auto x, auto y) { return vaddq_f32(x, y); }); }
    static Floats sub(Floats a, Floats b) { return each(a, b, [](auto x, auto y) { return vsubq_f32(x, y); }); }
    static Floats mul(Floats a, Floats b) { return each(a, b, [](auto x, auto y) { return vmulq_f32(x, y); }); }
    static Floats div(Floats a, Floats b) { return each(a, b, [](auto x, auto y) { return vdivq_f32(x, y); }); }
    static Floats max(Floats a, Floats b) { return each(a, b, [](auto x, auto y) { return vmaxq_f32(x, y); }); }
    static Floats min(Floats a, Floats b) { return each(a, b, [](auto x, auto y) { return vminq_f32(x, y); }); }
    static Floats abs(Floats a) { return each(a, a, [](auto x, auto) { return vabsq_f32(x); }); }
    static Floats limited(Floats x, float limit) { return max(min(x, all(limit)), all(-limit)); }  // to -limit..limit
    static Floats fma(Floats a, Floats b, Floats c) {  // a b + c
        for (int i = 0; i < 4; i++) c.val[i] = vfmaq_f32(c.val[i], a.val[i], b.val[i]);
        return c;
    }
    static Floats fnma(Floats a, Floats b, Floats c) {  // c - a b
        for (int i = 0; i < 4; i++) c.val[i] = vfmsq_f32(c.val[i], a.val[i], b.val[i]);
        return c;
    }

    static Ints none() { return {{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }
    static Ints load_int(const int32_t* p) {
        return {{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
    }
    static void store_int(int32_t* p, Ints x) {
        for (int i = 0; i < 4; i++) vst1q_s32(p + 4 * i, x.val[i]);
    }
    static Ints load_s8(const int8_t* p) {
        const int8x16_t bytes = vld1q_s8(p);
        const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
        return {{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)),
                 vmovl_s16(vget_high_s16(high))}};
    }
    static void store_s8(int8_t* p, Ints x) {  // values are within -128..127
        vst1q_s8(p, vcombine_s8(vqmovn_s16(words(x.val[0], x.val[1])), vqmovn_s16(words(x.val[2], x.val[3]))));
    }
    static void store_u8(uint8_t* p, Ints x) {  // limited to 0..255
        vst1q_u8(p, vcombine_u8(vqmovun_s16(words(x.val[0], x.val[1])), vqmovun_s16(words(x.val[2], x.val[3]))));
    }
    // 64 numbers, limited to 0..255.
    static void store_four_u8(uint8_t* p, Ints a, Ints b, Ints c, Ints d) {
        store_u8(p, a);
        store_u8(p + LANES, b);
        store_u8(p + 2 * LANES, c);
        store_u8(p + 3 * LANES, d);
    }
    static Ints add_int(Ints a, Ints b) { return each(a, b, [](auto x, auto y) { return vaddq_s32(x, y); }); }
    static Ints to_int(Floats x) {  // nearest, ties to even
        return {{vcvtnq_s32_f32(x.val[0]), vcvtnq_s32_f32(x.val[1]), vcvtnq_s32_f32(x.val[2]), vcvtnq_s32_f32(x.val[3])}};
    }
    static Ints bits(Floats x) {
        return {{vreinterpretq_s32_f32(x.val[0]), vreinterpretq_s32_f32(x.val[1]), vreinterpretq_s32_f32(x.val[2]),
                 vreinterpretq_s32_f32(x.val[3])}};
    }
    static Floats to_float(Ints x) {
        return {{vcvtq_f32_s32(x.val[0]), vcvtq_f32_s32(x.val[1]), vcvtq_f32_s32(x.val[2]), vcvtq_f32_s32(x.val[3])}};
    }
    static Floats rounded(Floats x) { return each(x, x, [](auto y, auto) { return vrndnq_f32(y); }); }
    // What `times_two_to` can take of x.
    static Floats scalable(Floats x) { return max(x, all(-40.f)); }
    // x 2^exponent, a whole number, where that is neither too large nor too small for an ordinary float.
    static Floats times_two_to(Floats x, Floats exponent) {
        return each(x, exponent, [](auto y, auto e) {
            const int32x4_t places = vshlq_n_s32(vcvtq_s32_f32(e), 23);
            return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(y), places));
        });
    }
    // From each lane 128 times its four bytes at p.
    static Ints less_128_times(Ints x, const int8_t* p) {
        const int8x16_t factor = vdupq_n_s8(-128);
        for (int i = 0; i < 4; i++) x.val[i] = vdotq_s32(x.val[i], vld1q_s8(p + 16 * i), factor);
        return x;
    }
    // Each lane's byte `at` becomes the low byte of x.
    static Ints with_byte(Ints word, Ints x, int at) {
        const int32x4_t byte = vdupq_n_s32(255), places = vdupq_n_s32(8 * at);
        return each(word, x, [&](auto w, auto y) { return vorrq_s32(w, vshlq_s32(vandq_s32(y, byte), places)); });
    }
    // table[index], of which the lowest five bits count.
    // A look-up reads 64 bytes, half of the table; what it does not find there keeps the bytes of the first half.
    static Floats lookup(const float* table, Ints index) {
        const uint8_t* bytes = reinterpret_cast<const uint8_t*>(table);
        const uint8x16x4_t low = vld1q_u8_x4(bytes), high = vld1q_u8_x4(bytes + 64);
        Floats found;
        for (int i = 0; i < 4; i++) {
            const uint32x4_t entry = vandq_u32(vreinterpretq_u32_s32(index.val[i]), vdupq_n_u32(31));
            const uint32x4_t first = vmulq_n_u32(entry, 0x04040404);
            const uint8x16_t place = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)));
            const uint8x16_t half = vqtbl4q_u8(low, place);
            found.val[i] = vreinterpretq_f32_u8(vqtbx4q_u8(half, high, vsubq_u8(place, vdupq_n_u8(64))));
        }
        return found;
    }

    static float sum(Floats x) {
        const float32x4_t four = vaddq_f32(vaddq_f32(x.val[0], x.val[2]), vaddq_f32(x.val[1], x.val[3]));
        return vaddv_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
    }
    static float greatest(Floats x) {
        return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.val[0], x.val[2]), vmaxq_f32(x.val[1], x.val[3])));
    }
    static float least(Floats x) {
        return vminvq_f32(vminq_f32(vminq_f32(x.val[0], x.val[2]), vminq_f32(x.val[1], x.val[3])));
    }
    static int32_t sum_int(Ints x) {
        return vaddvq_s32(vaddq_s32(vaddq_s32(x.val[0], x.val[2]), vaddq_s32(x.val[1], x.val[3])));
    }

  private:
    template <class Four, class Work>
    static Four each(Four a, Four b, Work work) {
        for (int i = 0; i < 4; i++) a.val[i] = work(a.val[i], b.val[i]);
        return a;
    }
    static int16x8_t words(int32x4_t low, int32x4_t high) { return vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)); }
};

}  // namespace
}  // namespace dd
