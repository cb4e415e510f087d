// Compares each set of kernels with the plain loops, one kernel at a time and to the last bit, then encodes from many
// threads. Compiled with the sanitizers by test_embedding_sanitized.py; arguments: small weights files.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "encoder.h"

namespace {

void require(bool good, const std::string& what) {
    if (good) return;
    fprintf(stderr, "wrong: %s\n", what.c_str());
    exit(1);
}

// Reproducible numbers, of very different sizes now and then.
class Random {
  public:
    uint32_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 17;
        return state_ ^= state_ << 5;
    }
    float real(float size) { return (static_cast<float>(next() % 20001) / 10000.f - 1.f) * size; }
    std::vector<float> reals(size_t count, float size) {
        std::vector<float> all(count);
        for (float& each : all) each = real(next() % 50 ? size : 30 * size);
        return all;
    }
    std::vector<int8_t> bytes(size_t count, int limit) {
        std::vector<int8_t> all(count);
        for (int8_t& each : all) each = static_cast<int8_t>(static_cast<int>(next() % (2u * limit + 1)) - limit);
        return all;
    }

  private:
    uint32_t state_ = 2463534242u;
};

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b, size_t count) {
    return memcmp(a.data(), b.data(), count * sizeof(T)) == 0;
}

// Rows in eight bits.
struct Rows {
    std::vector<uint8_t> values;
    std::vector<float> scales, zeros;
    size_t width;

    Rows(size_t rows, size_t width)
        : values(rows * width), scales(rows), zeros(rows), width(width) {}
    dd::Quantized view() { return {values.data(), scales.data(), zeros.data(), width}; }
    bool operator==(const Rows& other) const {
        return values == other.values && same(scales, other.scales, scales.size()) && same(zeros, other.zeros, zeros.size());
    }
};

void compare_rows(const dd::Kernels& plain, const dd::Kernels& fast, Random& random, size_t dim, float size) {
    const std::vector<float> row = random.reals(dim, size), gain = random.reals(dim, 1), bias = random.reals(dim, 1);
    const std::vector<int8_t> word = random.bytes(dim, 127);
    std::vector<float> a(dim), b(dim);
    plain.embed(word.data(), size, row.data(), dim, a.data());
    fast.embed(word.data(), size, row.data(), dim, b.data());
    require(same(a, b, dim), "embed");
    plain.add(row.data(), dim, a.data());
    fast.add(row.data(), dim, b.data());
    require(same(a, b, dim), "add");
}

void compare_rounding(const dd::Kernels& plain, const dd::Kernels& fast, Random& random, size_t rows, size_t dim, float size) {
    const std::vector<float> gain = random.reals(dim, 1), bias = random.reals(dim, 1);
    std::vector<float> a = random.reals(rows * 2 * dim, size), b = a;
    Rows c(rows, dim), d(rows, dim);
    plain.quantize(a.data(), rows, 2 * dim, c.view());
    fast.quantize(b.data(), rows, 2 * dim, d.view());
    require(c == d, "quantize");
    plain.normalize(a.data(), rows, {gain.data(), bias.data()}, 1e-12f, c.view());
    fast.normalize(b.data(), rows, {gain.data(), bias.data()}, 1e-12f, d.view());
    require(same(a, b, a.size()) && c == d, "normalize");
}

void compare_linear(const dd::Kernels& plain, const dd::Kernels& fast, Random& random, size_t rows, size_t inputs, size_t outputs) {
    const size_t room = rows * outputs;
    std::vector<int8_t> packed = random.bytes(inputs * outputs, 64);
    packed[0] = packed[2] = -127;  // the largest there may be, beside the smallest
    packed[1] = packed[3] = 1;
    const std::vector<float> scales = random.reals(outputs, 0.01f), sums = random.reals(outputs, 100), bias = random.reals(outputs, 1);
    const dd::Linear layer{inputs, outputs, packed.data(), scales.data(), sums.data(), bias.data()};
    Rows in(rows, inputs);
    for (uint8_t& each : in.values) each = static_cast<uint8_t>(random.next() % 3 ? random.next() : 255);
    for (float& each : in.scales) each = random.real(0.1f);
    for (float& each : in.zeros) each = static_cast<float>(random.next() % 256);
    for (const dd::Finish finish : {dd::Finish::PLAIN, dd::Finish::RESIDUAL, dd::Finish::GELU}) {
        std::vector<float> a = random.reals(room, 1), b = a;
        plain.linear(in.view(), rows, layer, finish, a.data());
        fast.linear(in.view(), rows, layer, finish, b.data());
        require(same(a, b, room), "linear " + std::to_string(static_cast<int>(finish)));
    }
}

void compare_attention(const dd::Kernels& plain, const dd::Kernels& fast, Random& random, size_t tokens, size_t head) {
    const size_t dim = 2 * head, pitch = dd::rounded_up(tokens, dd::TILE_OUTPUTS), tile = dd::TILE_TOKENS;
    std::vector<uint8_t> queries(pitch * head), chances(tile * pitch);
    std::vector<int8_t> keys(pitch * head), values(pitch * head);
    std::vector<float> query_scales(pitch), key_scales(pitch), masks(pitch), value_scales(head), scores(tile * pitch);
    std::vector<int32_t> key_sums(pitch);
    const dd::AttentionRoom room{pitch, queries.data(), query_scales.data(), keys.data(), key_scales.data(), masks.data(),
                                 key_sums.data(), values.data(), value_scales.data(), scores.data(), chances.data()};
    std::vector<float> a = random.reals(tokens * 3 * dim, 2), b = a;
    for (size_t first = 0; first < dim; first += head) {
        plain.attend(a.data() + first, tokens, dim, head, room);
        fast.attend(b.data() + first, tokens, dim, head, room);
    }
    require(same(a, b, a.size()), "attend " + std::to_string(tokens));
}

void compare(const dd::Kernels& fast) {
    const dd::Kernels& plain = *dd::reference_kernels();
    Random random;
    for (const size_t dim : {64, 128, 384, 448})
        for (const float size : {0.f, 1e-6f, 0.5f, 40.f}) {
            compare_rows(plain, fast, random, dim, size);
            for (const size_t rows : {1, 5, 7, 14}) compare_rounding(plain, fast, random, rows, dim, size);
        }
    for (const size_t rows : {1, 2, 3, 4, 5, 6, 7, 13})
        for (const size_t inputs : {64, 320, 384}) compare_linear(plain, fast, random, rows, inputs, 128);
    compare_linear(plain, fast, random, 3, 1536, 64);
    for (const size_t tokens : {1, 4, 5, 16, 17, 32, 33, 63, 64, 65, 96, 97, 131}) compare_attention(plain, fast, random, tokens, 32);
    for (const size_t head : {64, 96, 128}) compare_attention(plain, fast, random, 37, head);
}

// Texts of many lengths, encoded by several callers with several threads each, and again with a stop.
void encode(const std::string& path, const char* kernels) {
    const dd::Encoder encoder(path, kernels);
    std::vector<int32_t> ids, lengths, firsts;
    Random random;
    for (int32_t n = 0; n < 60; n++) lengths.push_back(1 + static_cast<int32_t>(random.next() % encoder.shape().positions));
    for (const int32_t length : lengths)
        for (int32_t n = 0; n < length; n++) ids.push_back(static_cast<int32_t>(random.next() % encoder.shape().vocabulary));
    for (const int32_t length : lengths) firsts.push_back(1 + static_cast<int32_t>(random.next() % static_cast<uint32_t>(length)));
    const dd::Texts texts{ids.data(), lengths.data(), lengths.size(), encoder.shape().scores() ? firsts.data() : nullptr};
    std::vector<float> expected(lengths.size() * encoder.shape().results());
    encoder.encode(texts, expected.data(), 1, nullptr);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 3; caller++)
        callers.emplace_back([&, caller] {
            std::vector<float> out(expected.size());
            require(encoder.encode(texts, out.data(), caller + 1, nullptr), "not stopped");
            require(same(out, expected, out.size()), "encode");
        });
    std::atomic<int32_t> stop{0};
    std::vector<float> out(expected.size());
    std::thread stopper([&] { stop = 1; });
    encoder.encode(texts, out.data(), 2, &stop);
    stopper.join();
    for (std::thread& caller : callers) caller.join();
    ids[0] = -1;
    try {
        encoder.encode(texts, out.data(), 2, nullptr);
        require(false, "an unknown token is refused");
    } catch (const dd::Refused&) {
        // as it should
    }
}

}  // namespace

int main(int, char** words) {
    int compared = 0;
    for (const char* name : {"avx2", "avx-vnni", "avx512-vnni", "neon-dot"})
        if (const dd::Kernels* kernels = dd::kernels_named(name)) {
            compare(*kernels);
            for (char** model = words + 1; *model; model++) encode(*model, name);
            compared++;
        }
#if defined(DOT)
    compare(*dd::avx_vnni_kernels());
#endif
    printf("%d sets of kernels agree\n", compared);
    return compared == 0;
}
