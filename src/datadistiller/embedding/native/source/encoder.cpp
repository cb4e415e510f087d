#include "encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace dd {
namespace {

// Tokens that go through the layers together: enough that a panel of weights is used often while it is in the cache,
// few enough that the activations stay in the second-level cache.
constexpr size_t GROUP_TOKENS = 256;
constexpr int MAX_THREADS = 256;

const Kernels& chosen(const char* name) {
    const Kernels* kernels = kernels_named(name);
    if (!kernels) throw Refused(std::string("This processor or this build has no kernels '") + name + "'.");
    return *kernels;
}

// Zeroed memory, aligned for the kernels: keys that pad a tile are computed too, and shall be numbers.
template <class T>
class Buffer {
  public:
    explicit Buffer(size_t count) {
        const size_t bytes = rounded_up(count * sizeof(T), ALIGNMENT);
        void* memory = std::aligned_alloc(ALIGNMENT, bytes);
        if (!memory) throw std::bad_alloc();
        std::fill_n(static_cast<char*>(memory), bytes, 0);
        memory_.reset(static_cast<T*>(memory));
    }
    T* get() const { return memory_.get(); }

  private:
    struct Free {
        void operator()(T* memory) const { std::free(memory); }
    };
    std::unique_ptr<T[], Free> memory_;
};

// Cuts texts into groups of about GROUP_TOKENS; a group holds at least one text.
std::vector<Texts> grouped(const Texts& texts) {
    std::vector<Texts> groups;
    size_t tokens = 0;
    const int32_t* ids = texts.ids;
    for (size_t n = 0; n < texts.count; n++) {
        const size_t length = static_cast<size_t>(texts.lengths[n]);
        if (groups.empty() || tokens + length > GROUP_TOKENS) {
            groups.push_back({ids, texts.lengths + n, 0, texts.firsts ? texts.firsts + n : nullptr});
            tokens = 0;
        }
        groups.back().count++;
        tokens += length;
        ids += length;
    }
    return groups;
}

size_t tokens_of(const Texts& texts) {
    size_t tokens = 0;
    for (size_t n = 0; n < texts.count; n++) tokens += static_cast<size_t>(texts.lengths[n]);
    return tokens;
}

// tanh with nothing but additions, multiplications and divisions, whose bits are the same everywhere; a library's are
// its own. Within 1e-15.
double bent(double x) {
    if (std::isnan(x)) return x;
    const double doubled = 2 * std::clamp(x, -20., 20.), whole = std::nearbyint(doubled * 1.4426950408889634);
    const double rest = doubled - whole * 0.6931471805599453;
    double power = 1;  // of e to the rest, by its series
    for (int n = 14; n > 0; n--) power = 1 + power * rest / n;
    return 1 - 2 / (std::ldexp(power, static_cast<int>(whole)) + 1);
}

// Hands out the numbers 0 to count - 1 to several threads, until all are given, one fails, or `stop` is set.
class Turns {
  public:
    Turns(size_t count, const std::atomic<int32_t>* stop) : count_(count), stop_(stop) {}

    bool next(size_t& turn) {
        if ((turn = next_++) >= count_) return false;
        if (stop_ && stop_->load(std::memory_order_relaxed)) stopped_ = true;
        return !stopped_;
    }

    bool stopped() const { return stopped_; }

    // Runs `work` on this thread and on others beside it, and throws what the last one of them threw.
    template <class Work>
    void run(int threads, const Work& work) {
        const auto guarded = [&] {
            try {
                work();
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex_);
                failure_ = std::current_exception();
                next_ = count_;
            }
        };
        std::vector<std::thread> helpers;
        const size_t wanted = std::min<size_t>(static_cast<size_t>(std::clamp(threads, 1, MAX_THREADS)), count_);
        helpers.reserve(wanted);
        try {
            for (size_t n = 1; n < wanted; n++) helpers.emplace_back(guarded);
        } catch (const std::exception&) {
            // No more threads are to be had: those that are there do all of it.
        }
        if (count_ > 0) guarded();
        for (std::thread& helper : helpers) helper.join();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    const size_t count_;
    const std::atomic<int32_t>* const stop_;
    std::atomic<size_t> next_{0};
    std::atomic<bool> stopped_{false};
    std::mutex mutex_;
    std::exception_ptr failure_;
};

}  // namespace

// One thread's memory, for groups of up to `tokens` tokens in texts of up to `longest`.
class Encoder::Room {
  public:
    Room(const Shape& shape, size_t tokens, size_t longest)
        : rows_(tokens), keys_(rounded_up(longest, TILE_OUTPUTS)), head_(shape.head()),
          hidden(rows_ * shape.dim), qkv(rows_ * 3 * shape.dim), inner(rows_ * shape.inner),
          values_(rows_ * std::max(shape.dim, shape.inner)), scales_(rows_), zeros_(rows_),
          queries_(keys_ * head_), key_values_(keys_ * head_), value_values_(keys_ * head_),
          query_scales_(keys_), key_scales_(keys_), key_masks_(keys_),
          value_scales_(head_), scores_(TILE_TOKENS * keys_), key_sums_(keys_), chances_(TILE_TOKENS * keys_) {}

  private:
    size_t rows_, keys_, head_;  // first, because the buffers are made from them

  public:
    size_t tokens = 0;  // of the group that is in it
    Buffer<float> hidden, qkv, inner;

    Quantized quantized(size_t width) const { return {values_.get(), scales_.get(), zeros_.get(), width}; }

    AttentionRoom attention(size_t tokens_of_text) const {
        return {rounded_up(tokens_of_text, TILE_OUTPUTS), queries_.get(), query_scales_.get(), key_values_.get(),
                key_scales_.get(), key_masks_.get(), key_sums_.get(), value_values_.get(), value_scales_.get(),
                scores_.get(), chances_.get()};
    }

  private:
    Buffer<uint8_t> values_;
    Buffer<float> scales_, zeros_;
    Buffer<uint8_t> queries_;
    Buffer<int8_t> key_values_, value_values_;
    Buffer<float> query_scales_, key_scales_, key_masks_, value_scales_, scores_;
    Buffer<int32_t> key_sums_;
    Buffer<uint8_t> chances_;
};

Encoder::Encoder(const std::string& path, const char* kernels) : kernels_(chosen(kernels)), weights_(path) {}

void Encoder::check(const Texts& texts) const {
    if (shape().scores() != (texts.firsts != nullptr)) throw Refused("Pairs are for models that score, and for no other.");
    const int32_t* id = texts.ids;
    for (size_t n = 0; n < texts.count; n++) {
        const int32_t length = texts.lengths[n];
        if (length < 1 || length > static_cast<int32_t>(shape().positions))
            throw Refused("Text " + std::to_string(n) + " has " + std::to_string(length) + " tokens; 1 to " +
                          std::to_string(shape().positions) + " are possible.");
        if (texts.firsts && (texts.firsts[n] < 1 || texts.firsts[n] > length))
            throw Refused("The first part of pair " + std::to_string(n) + " is not within it.");
        for (const int32_t* end = id + length; id < end; id++)
            if (*id < 0 || *id >= static_cast<int32_t>(shape().vocabulary))
                throw Refused("Text " + std::to_string(n) + " holds the unknown token " + std::to_string(*id) + ".");
    }
}

bool Encoder::encode(const Texts& texts, float* out, int threads, const std::atomic<int32_t>* stop) const {
    check(texts);
    const std::vector<Texts> groups = grouped(texts);
    size_t most = 0, longest = 0;
    for (const Texts& group : groups) most = std::max(most, tokens_of(group));
    for (size_t n = 0; n < texts.count; n++) longest = std::max(longest, static_cast<size_t>(texts.lengths[n]));
    Turns turns(groups.size(), stop);
    turns.run(threads, [&] {
        Room room(shape(), most, longest);
        for (size_t n; turns.next(n);) {
            const size_t first = static_cast<size_t>(groups[n].lengths - texts.lengths);
            encode_group(groups[n], room, out + first * shape().results());
        }
    });
    return !turns.stopped();
}

void Encoder::encode_group(const Texts& group, Room& room, float* out) const {
    room.tokens = tokens_of(group);
    embed(group, room);
    for (const Layer& layer : weights_.layers) {
        attend(group, layer, room);
        think(layer, room);
    }
    if (shape().scores())
        score(group, room, out);
    else
        pool(group, room, out);
}

// Word, position and kind of each token. Leaves rows and their eight bits ready for the first layer, as every layer does.
void Encoder::embed(const Texts& group, Room& room) const {
    const size_t dim = shape().dim;
    size_t t = 0;
    for (size_t n = 0; n < group.count; n++)
        for (int32_t place = 0; place < group.lengths[n]; place++, t++) {
            const size_t id = static_cast<size_t>(group.ids[t]);
            float* row = room.hidden.get() + t * dim;
            const size_t second = group.firsts && place >= group.firsts[n] ? shape().positions : 0;
            const float* position = weights_.positions + (second + static_cast<size_t>(place)) * dim;
            kernels_.embed(weights_.words + id * dim, weights_.word_scales[id], position, dim, row);
        }
    kernels_.normalize(room.hidden.get(), room.tokens, weights_.norm, shape().epsilon, room.quantized(dim));
}

// hidden = norm(hidden + attention(hidden))
void Encoder::attend(const Texts& group, const Layer& layer, Room& room) const {
    const size_t dim = shape().dim, head = shape().head();
    const Quantized in = room.quantized(dim);
    float *qkv = room.qkv.get(), *hidden = room.hidden.get();
    kernels_.linear(in, room.tokens, layer.attention_in, Finish::PLAIN, qkv);
    float* text = qkv;
    for (size_t n = 0; n < group.count; n++) {
        const size_t tokens = static_cast<size_t>(group.lengths[n]);
        const AttentionRoom attention = room.attention(tokens);
        for (size_t first = 0; first < dim; first += head) kernels_.attend(text + first, tokens, dim, head, attention);
        text += tokens * 3 * dim;
    }
    kernels_.quantize(qkv, room.tokens, 3 * dim, in);
    kernels_.linear(in, room.tokens, layer.attention_out, Finish::RESIDUAL, hidden);
    kernels_.normalize(hidden, room.tokens, layer.attention_norm, shape().epsilon, in);
}

// hidden = norm(hidden + outer(gelu(inner(hidden))))
void Encoder::think(const Layer& layer, Room& room) const {
    const size_t dim = shape().dim, width = shape().inner;
    const Quantized in = room.quantized(dim), bent = room.quantized(width);
    float *inner = room.inner.get(), *hidden = room.hidden.get();
    kernels_.linear(in, room.tokens, layer.inner, Finish::GELU, inner);
    kernels_.quantize(inner, room.tokens, width, bent);
    kernels_.linear(bent, room.tokens, layer.outer, Finish::RESIDUAL, hidden);
    kernels_.normalize(hidden, room.tokens, layer.output_norm, shape().epsilon, in);
}

// The mean of a text's rows, or its first one, as a unit vector.
void Encoder::pool(const Texts& group, const Room& room, float* out) const {
    const size_t dim = shape().dim;
    const float* row = room.hidden.get();
    for (size_t n = 0; n < group.count; n++, out += dim) {
        std::fill_n(out, dim, 0.f);
        const size_t tokens = static_cast<size_t>(group.lengths[n]);
        const size_t counted = shape().pooling == Pooling::CLS ? 1 : tokens;
        for (size_t t = 0; t < counted; t++) kernels_.add(row + t * dim, dim, out);
        row += tokens * dim;
        double squares = 0;  // in order, and too few to matter: no kernel is needed
        for (size_t k = 0; k < dim; k++) squares += static_cast<double>(out[k]) * static_cast<double>(out[k]);
        if (!std::isfinite(squares) || squares <= 0) throw Refused("A vector is not finite: the weights are unusable.");
        const float factor = static_cast<float>(1 / std::sqrt(squares));
        for (size_t k = 0; k < dim; k++) out[k] *= factor;
    }
}

// The first rows of all pairs through the pooler, and each of them through the classifier.
void Encoder::score(const Texts& group, Room& room, float* out) const {
    const size_t dim = shape().dim;
    const Head& head = weights_.head;
    const Quantized in = room.quantized(dim);
    const float* row = room.hidden.get();
    for (size_t n = 0; n < group.count; n++) {
        kernels_.quantize(row, 1, dim, in.from(n));
        row += static_cast<size_t>(group.lengths[n]) * dim;
    }
    float* pooled = room.qkv.get();
    kernels_.linear(in, group.count, head.pooler, Finish::PLAIN, pooled);
    for (size_t n = 0; n < group.count; n++, pooled += dim) {
        double sum = static_cast<double>(*head.bias);
        for (size_t k = 0; k < dim; k++)
            sum += bent(static_cast<double>(pooled[k])) * static_cast<double>(head.weights[k]);
        if (!std::isfinite(sum)) throw Refused("A score is not finite: the weights are unusable.");
        out[n] = static_cast<float>(sum);
    }
}

}  // namespace dd
