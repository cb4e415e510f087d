// How rows are cut into tiles.
#pragma once

#include "layout.h"

namespace dd {
namespace {

template <int N>
struct Height {
    static constexpr int ROWS = N;
};

// Cuts rows into tiles, the last of them as high as there are rows left: `work(first row, Height<rows of the tile>)`.
template <class Work>
inline void in_tiles(size_t rows, const Work& work) {
    size_t row = 0;
    for (; row + TILE_TOKENS <= rows; row += TILE_TOKENS) work(row, Height<TILE_TOKENS>());
    switch (rows - row) {
        case 1: return work(row, Height<1>());
        case 2: return work(row, Height<2>());
        case 3: return work(row, Height<3>());
        case 4: return work(row, Height<4>());
        case 5: return work(row, Height<5>());
    }
}

}  // namespace
}  // namespace dd
