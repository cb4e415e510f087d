// What Python calls (`engine.py`): plain C, no exception leaves it, a failure is a sentence in the caller's buffer.
#include <cstdio>
#include <cstring>
#include <exception>

#include "encoder.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Raised whenever a function here or the arithmetic changes.
constexpr int32_t INTERFACE = 3;

enum Outcome : int32_t { DONE = 0, STOPPED = 1, REFUSED = 2, FAILED = 3 };

struct Said {
    char* text;
    size_t size;

    void operator()(const char* words) const { snprintf(text, size, "%s", words); }
};

// Runs a function and tells what became of it.
template <class Work>
int32_t guarded(const Said& said, Work work) {
    try {
        return work();
    } catch (const dd::Refused& error) {
        said(error.what());
        return REFUSED;
    } catch (const std::exception& error) {
        said(error.what());
        return FAILED;
    }
}

}  // namespace

EXPORT int32_t dd_interface() { return INTERFACE; }

// Opens a weights file with the kernels of that name ("auto": the fastest). Null, and why in `said`, if it cannot be.
EXPORT dd::Encoder* dd_open(const char* path, const char* kernels, char* said, size_t said_size) {
    dd::Encoder* encoder = nullptr;
    guarded({said, said_size}, [&] {
        encoder = new dd::Encoder(path, kernels);
        return DONE;
    });
    return encoder;
}

// Nobody may be encoding any more.
EXPORT void dd_close(dd::Encoder* encoder) { delete encoder; }

EXPORT const char* dd_kernels(const dd::Encoder* encoder) { return encoder->kernels(); }

// layers, dim, heads, inner, vocabulary, positions, pooling
EXPORT void dd_shape(const dd::Encoder* encoder, int32_t* numbers) {
    const dd::Shape& shape = encoder->shape();
    const uint32_t all[] = {shape.layers, shape.dim, shape.heads, shape.inner, shape.vocabulary, shape.positions,
                            static_cast<uint32_t>(shape.pooling)};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) numbers[n] = static_cast<int32_t>(all[n]);
}

// Encodes `count` texts, whose ids lie one after the other and are `tokens` in all, into count x dim floats; or pairs,
// of which `firsts` has the lengths of the first parts, into count floats. `firsts` is null for texts, and `stop` may be
// null; it is read as an atomic while this runs.
EXPORT int32_t dd_encode(const dd::Encoder* encoder, const int32_t* ids, int64_t tokens, const int32_t* lengths,
                         const int32_t* firsts, int64_t count, float* out, int32_t threads, const int32_t* stop,
                         char* said, size_t said_size) {
    return guarded({said, said_size}, [&]() -> int32_t {
        int64_t total = 0;
        for (int64_t n = 0; n < count; n++) total += lengths[n] > 0 ? lengths[n] : 0;
        if (count < 0 || total != tokens) throw dd::Refused("The lengths of the texts are not those of their tokens.");
        const dd::Texts texts{ids, lengths, static_cast<size_t>(count), firsts};
        static_assert(sizeof(std::atomic<int32_t>) == sizeof(int32_t), "an atomic is a plain number here");
        const auto* flag = reinterpret_cast<const std::atomic<int32_t>*>(stop);
        return encoder->encode(texts, out, threads, flag) ? DONE : STOPPED;
    });
}
