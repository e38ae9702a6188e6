// What a compiled convolution is: the non-zeros in the order they are used, and the tiles.
//
// Tensors are [C][B][H][W][VL]: images in blocks of VL, a channel's planes side by side,
// `channel stride` apart (padded so that channels fall into different cache sets). A tile
// is NB blocks x R rows x C columns of one *own* channel, held in registers; for each of
// its channel's non-zeros it reads the *other* tensor at a fixed offset. Forward: own =
// output, other = input. Backward: own = input and its gradient, other = output's gradient.
#pragma once

#include <cstdint>

#include "vector.h"

struct Entry {
    real weight;
    int32_t offset;  // elements of the other tensor, from the tile's place there
};

struct Tile {
    int64_t own, other;  // elements, without the channel
    int32_t shape;       // index into SHAPES
    int32_t runs;        // which set of runs (which borders it touches)
};

// Non-zeros of neighbouring taps that see the same part of a tile.
struct Run {
    int32_t begin, end;  // taps, in the plan's order
    int32_t kind;        // 3 * rows + columns; 0 all, 1 without the first, 2 without the last
};

struct Plan {
    int32_t rows;    // own channels
    int32_t blocks;  // blocks of other channels (what stays in the first-level cache)
    int32_t taps;
    int32_t stride;  // steps of the other tensor between neighbouring columns: 1 or 2
    int64_t tiles_count;
    const int32_t* starts;    // [blocks][rows][taps + 1]: entries of each tap
    Entry* entries;
    const Tile* tiles;
    const int32_t* run_sets;  // [sets + 1]: runs of each set
    const Run* runs;
    int64_t own_channel, own_block, own_row, own_column;  // strides, elements
    int64_t other_block, other_row, other_channel, other_channels;
    int64_t ahead;  // from a tile's place in the other tensor to its lowest row there
    const int32_t* cuts;  // [cuts_count + 1]: own channels of about equal work
    int32_t cuts_count;
    int32_t row_split;    // 1: threads share the channels, 0: the tiles
    int32_t alike;        // 1: all channels have their non-zeros at the same places
    int32_t unused;
    const real* mask;     // bits for each place of an own channel that must stay zero, or null
};

// Vectors of a tile: outputs alone, or inputs and their gradients together; beside them the
// registers hold a weight, four partial sums and what is loaded. Where all channels have their
// non-zeros at the same places, ALIKE of them are computed at once, with MOST_ALIKE sums in all:
// with 16 registers three channels of four vectors, their three weights and one input.
#if defined(SMALL_TILES)  // for sanitizers: large unrolled tiles take them minutes to compile
constexpr int MOST_FORWARD = 6, MOST_BACKWARD = 4, ALIKE = 4, MOST_ALIKE = 8;
#elif defined(__AVX512F__)
constexpr int MOST_FORWARD = 16, MOST_BACKWARD = 11, ALIKE = 4, MOST_ALIKE = 24;
#elif defined(__AVX2__)
constexpr int MOST_FORWARD = 12, MOST_BACKWARD = 5, ALIKE = 3, MOST_ALIKE = 12;
#else
constexpr int MOST_FORWARD = 12, MOST_BACKWARD = 5, ALIKE = 4, MOST_ALIKE = 8;
#endif

// X-macro: index, blocks, rows, columns. The planner reads the same list.
#define SHAPES(X)                                                                          \
    X(0, 1, 1, 1) X(1, 1, 1, 2) X(2, 1, 1, 3) X(3, 1, 1, 4) X(4, 1, 1, 5) X(5, 1, 1, 6)    \
    X(6, 1, 1, 7) X(7, 1, 1, 8) X(8, 1, 1, 9) X(9, 1, 1, 10) X(10, 1, 1, 11)               \
    X(11, 1, 1, 12) X(12, 1, 1, 13) X(13, 1, 1, 14) X(14, 1, 1, 15) X(15, 1, 1, 16)        \
    X(16, 1, 2, 8) X(17, 1, 2, 7) X(18, 1, 2, 6) X(19, 1, 2, 5) X(20, 1, 2, 4)             \
    X(21, 1, 4, 4) X(22, 1, 3, 3) X(23, 1, 2, 3) X(24, 1, 2, 2) X(25, 2, 2, 2)             \
    X(26, 4, 2, 2) X(27, 2, 1, 1) X(28, 4, 1, 1) X(29, 8, 1, 1) X(30, 1, 3, 4)             \
    X(31, 2, 2, 1) X(32, 4, 1, 2) X(33, 1, 4, 2) X(34, 1, 2, 1)
