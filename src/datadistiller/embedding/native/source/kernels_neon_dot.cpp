// The kernels for ARM processors with the dot product instructions (ARMv8.2 and later: Graviton 2, Apple M1 and so on).
#include "kernels_shared.h"
#include "simd_neon.h"

namespace dd {
namespace {

// Here the dot product takes both sides signed. So 128 is taken from each input, which is its highest bit turned over,
// and 128 times the sum of the weights is where the sums of a tile begin.
struct NeonDot : NeonLanes {
    struct Panel {
        const int8_t* weights;
        alignas(ALIGNMENT) int32_t begins[TILE_OUTPUTS];
    };

    static Panel prepared(const int8_t* weights, int steps) {
        Panel panel;
        panel.weights = weights;
        begin<TILE_OUTPUTS>(weights, TILE_OUTPUTS * QUAD, steps, panel.begins);
        return panel;
    }

    template <int ROWS, class Sink>
    static void weights_tile(const uint8_t* a, size_t a_pitch, const Panel& panel, int steps, const Sink& sink) {
        for (int strip = 0; strip < TILE_OUTPUTS; strip += LANES)
            tile_strip<ROWS>(a, a_pitch, panel.weights + strip * QUAD, TILE_OUTPUTS * QUAD, steps, panel.begins, strip, sink);
    }

    // As Avx512::tile, in strips of 16 outputs: 24 accumulators, six registers of inputs, one or two of weights.
    template <int ROWS, int N, class Sink>
    static void tile(const uint8_t* a, size_t a_pitch, const int8_t* b, size_t b_pitch, int steps, const Sink& sink) {
        alignas(ALIGNMENT) int32_t begins[N];
        begin<N>(b, b_pitch, steps, begins);
        for (int strip = 0; strip < N; strip += LANES)
            tile_strip<ROWS>(a, a_pitch, b + strip * QUAD, b_pitch, steps, begins, strip, sink);
    }

  private:
    static constexpr int REGISTERS = 4;  // of four outputs, in a strip
    static constexpr int QUADS = 4;      // steps whose inputs fill a register

    template <int N>
    static void begin(const int8_t* b, size_t b_pitch, int steps, int32_t* begins) {
        int32x4_t sums[N / 4];
        for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
        const int8x16_t ones = vdupq_n_s8(1);
        for (int step = 0; step < steps; step++)
            for (int j = 0; j < N / 4; j++) sums[j] = vdotq_s32(sums[j], vld1q_s8(b + step * b_pitch + j * 16), ones);
        for (int j = 0; j < N / 4; j++) vst1q_s32(begins + 4 * j, vshlq_n_s32(sums[j], 7));
    }

    static int8x16_t lowered(uint8x16_t inputs) { return vreinterpretq_s8_u8(veorq_u8(inputs, vdupq_n_u8(128))); }

    // The weights of one step times the quadruple `Q` of each token's inputs.
    template <int Q, int ROWS>
    static void step(int32x4_t (&total)[ROWS][REGISTERS], const int8x16_t (&inputs)[ROWS],
                     const int8_t* b) {
#pragma GCC unroll 4
        for (int j = 0; j < REGISTERS; j++) {
            const int8x16_t weights = vld1q_s8(b + j * 16);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++)
                total[i][j] = vdotq_laneq_s32(total[i][j], weights, inputs[i], Q);
        }
    }

    template <int ROWS, class Sink>
    static void tile_strip(const uint8_t* a, size_t a_pitch, const int8_t* b, size_t b_pitch, int steps,
                           const int32_t* begins, int strip, const Sink& sink) {
        int32x4_t total[ROWS][REGISTERS];
        int8x16_t inputs[ROWS];
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
            for (int j = 0; j < REGISTERS; j++) total[i][j] = vld1q_s32(begins + strip + 4 * j);
        int done = 0;
        for (; done + QUADS <= steps; done += QUADS, b += QUADS * b_pitch) {
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) inputs[i] = lowered(vld1q_u8(a + i * a_pitch + done * QUAD));
            step<0>(total, inputs, b);
            step<1>(total, inputs, b + b_pitch);
            step<2>(total, inputs, b + 2 * b_pitch);
            step<3>(total, inputs, b + 3 * b_pitch);
        }
        for (; done < steps; done++, b += b_pitch) {
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                uint32_t quad;
                __builtin_memcpy(&quad, a + i * a_pitch + done * QUAD, QUAD);
                inputs[i] = lowered(vreinterpretq_u8_u32(vdupq_n_u32(quad)));
            }
            step<0>(total, inputs, b);
        }
        const auto take = sink(strip);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) take(i, Ints{{total[i][0], total[i][1], total[i][2], total[i][3]}});
    }
};

}  // namespace

const Kernels* neon_dot_kernels() {
    static constexpr Kernels kernels = kernels_of<NeonDot>("neon-dot");
    return &kernels;
}

}  // namespace dd
