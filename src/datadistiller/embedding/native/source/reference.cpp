// The same arithmetic as the kernels in plain loops, written apart from them: what each kernel is tested against, bit
// for bit. It is slow and never chosen by itself.
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels.h"

namespace dd {
namespace {

float at_most(float x, float limit) { return x < limit ? x : limit; }
float at_least(float x, float limit) { return x > limit ? x : limit; }
int32_t nearest(float x) { return static_cast<int32_t>(std::nearbyintf(x)); }  // ties to even
uint8_t to_u8(int32_t x) { return static_cast<uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x); }

// LANES partial sums, folded in halves.
struct LaneSum {
    float lanes[LANES] = {};

    float folded() {
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
        return lanes[0];
    }
};

void embed(const int8_t* word, float scale, const float* position, size_t dim, float* row) {
    for (size_t k = 0; k < dim; k++) row[k] = std::fma(static_cast<float>(word[k]), scale, position[k]);
}

void normalize_row(float* row, size_t dim, const Norm& norm, float epsilon) {
    LaneSum total, squares;
    for (size_t k = 0; k < dim; k++) total.lanes[k % LANES] += row[k];
    const float mean = total.folded() / static_cast<float>(dim);
    for (size_t k = 0; k < dim; k++) {
        float& lane = squares.lanes[k % LANES];
        lane = std::fma(row[k] - mean, row[k] - mean, lane);
    }
    const float factor = 1.f / std::sqrt(squares.folded() / static_cast<float>(dim) + epsilon);
    for (size_t k = 0; k < dim; k++) row[k] = std::fma((row[k] - mean) * factor, norm.gain[k], norm.bias[k]);
}

void quantize_row(const float* row, const Quantized& out, size_t at) {
    float high = 0.f, low = 0.f;
    for (size_t k = 0; k < out.width; k++) {
        high = at_least(row[k], high);
        low = at_most(row[k], low);
    }
    const float scale = (high - low) / 255.f + 1e-12f, inverse = 1.f / scale;
    const float zero = std::nearbyintf(-low * inverse) + 0.f;
    out.scales[at] = scale;
    out.zeros[at] = zero;
    for (size_t k = 0; k < out.width; k++)
        out.values[at * out.width + k] = to_u8(nearest(std::fma(row[k], inverse, zero)));
}

void quantize(const float* rows, size_t count, size_t pitch, const Quantized& out) {
    for (size_t t = 0; t < count; t++) quantize_row(rows + t * pitch, out, t);
}

void normalize(float* rows, size_t count, const Norm& norm, float epsilon, const Quantized& out) {
    for (size_t t = 0; t < count; t++) {
        normalize_row(rows + t * out.width, out.width, norm, epsilon);
        quantize_row(rows + t * out.width, out, t);
    }
}

float gelu(float x) {
    const float limited = at_least(at_most(x, GELU_END), -GELU_END);
    const float moved = std::fma(limited, GELU_SEGMENTS, LOWEST_BITS);
    const int segment = static_cast<int>(moved - LOWEST_BITS) & 31;
    return std::fma(x, std::fma(x, GELU_TABLE[2][segment], GELU_TABLE[1][segment]), GELU_TABLE[0][segment]);
}

int8_t weight(const Linear& layer, size_t output, size_t input) {
    const size_t panel = output / TILE_OUTPUTS * TILE_OUTPUTS * layer.inputs;
    return layer.packed[panel + (input / QUAD * TILE_OUTPUTS + output % TILE_OUTPUTS) * QUAD + input % QUAD];
}

void linear(const Quantized& in, size_t rows, const Linear& layer, Finish finish, float* out) {
    for (size_t row = 0; row < rows; row++)
        for (size_t n = 0; n < layer.outputs; n++) {
            int32_t sum = 0;
            for (size_t k = 0; k < layer.inputs; k++) sum += weight(layer, n, k) * in.values[row * in.width + k];
            const float centred = std::fma(-in.zeros[row], layer.sums[n], static_cast<float>(sum));
            const float y = std::fma(centred * in.scales[row], layer.scales[n], layer.bias[n]);
            float& place = out[row * layer.outputs + n];
            place = finish == Finish::GELU ? gelu(y) : finish == Finish::RESIDUAL ? y + place : y;
        }
}

float power_of_two_255(float x) {
    x = at_least(x, -40.f);
    const int32_t whole = nearest(x);
    const float f = x - static_cast<float>(whole);
    float p = std::fma(f, 14.2357065f, 61.2577575f);
    p = std::fma(f, p, 176.752536f);
    p = std::fma(f, p, 255.f);
    return std::ldexp(p, whole);
}

float largest_of(const float* row, size_t width) {
    float largest = 0.f;
    for (size_t k = 0; k < width; k++) largest = at_least(std::fabs(row[k]), largest);
    return largest + 1e-9f;
}

// One head of a text, each of queries, keys and values as rows of eight bits.
struct Head {
    size_t tokens, width;
    std::vector<int8_t> queries, keys, values;
    std::vector<float> query_scales, key_scales, value_scales;
};

Head quantized_head(const float* qkv, size_t tokens, size_t dim, size_t width) {
    const size_t size = tokens * width;
    Head head{tokens, width, std::vector<int8_t>(size), std::vector<int8_t>(size), std::vector<int8_t>(size),
              std::vector<float>(tokens), std::vector<float>(tokens), std::vector<float>(width, 1e-9f)};
    for (size_t n = 0; n < tokens; n++) {
        const float *query = qkv + n * 3 * dim, *key = query + dim, *value = key + dim;
        const float of_query = largest_of(query, width), of_key = largest_of(key, width);
        head.query_scales[n] = of_query / 127.f * (1.44269504f / std::sqrt(static_cast<float>(width)));
        head.key_scales[n] = of_key / 127.f;
        for (size_t k = 0; k < width; k++) {
            const float moved = std::fma(query[k], 127.f / of_query, 128.f);
            head.queries[n * width + k] = static_cast<int8_t>(to_u8(nearest(moved)) - 128);
            head.keys[n * width + k] = static_cast<int8_t>(nearest(key[k] * (127.f / of_key)));
            head.value_scales[k] = at_least(std::fabs(value[k]), head.value_scales[k]);
        }
    }
    for (size_t n = 0; n < tokens; n++)
        for (size_t k = 0; k < width; k++)
            head.values[n * width + k] =
                static_cast<int8_t>(nearest(qkv[(3 * n + 2) * dim + k] * (127.f / head.value_scales[k])));
    return head;
}

std::vector<uint8_t> chances_of(const Head& head, size_t query, float* inverse) {
    std::vector<float> scores(head.tokens);
    float top = -1e30f;
    for (size_t n = 0; n < head.tokens; n++) {
        int32_t sum = 0;
        for (size_t k = 0; k < head.width; k++)
            sum += head.queries[query * head.width + k] * head.keys[n * head.width + k];
        scores[n] = std::fma(static_cast<float>(sum), head.key_scales[n], 0.f);
        top = at_least(scores[n], top);
    }
    const float factor = head.query_scales[query];
    std::vector<uint8_t> chances(head.tokens);
    int32_t total = 0;
    for (size_t n = 0; n < head.tokens; n++) {
        const int32_t rounded = nearest(power_of_two_255(std::fma(scores[n], factor, -(top * factor))));
        total += rounded;
        chances[n] = to_u8(rounded);
    }
    *inverse = 1.f / static_cast<float>(total);
    return chances;
}

void attend(float* qkv, size_t tokens, size_t dim, size_t width, const AttentionRoom&) {
    const Head head = quantized_head(qkv, tokens, dim, width);
    for (size_t m = 0; m < tokens; m++) {
        float inverse;
        const std::vector<uint8_t> chances = chances_of(head, m, &inverse);
        for (size_t k = 0; k < width; k++) {
            int32_t sum = 0;
            for (size_t n = 0; n < tokens; n++) sum += chances[n] * head.values[n * width + k];
            qkv[m * 3 * dim + k] = static_cast<float>(sum) * (head.value_scales[k] / 127.f) * inverse;
        }
    }
}

void add(const float* row, size_t dim, float* sum) {
    for (size_t k = 0; k < dim; k++) sum[k] += row[k];
}

}  // namespace

const Kernels* reference_kernels() {
    static constexpr Kernels kernels = {"reference", embed, normalize, quantize, linear, attend, add};
    return &kernels;
}

}  // namespace dd
