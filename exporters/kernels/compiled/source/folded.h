// Runs a list of calls over groups of images, so that a group's activations stay in the caches.
//
// A folded tensor is [C][rows][row][B][VL], or [rows][C][row][VL], or pixel-major, for generated code,
// [B][rows][row][C][VL], whose lanes are P images times a grid of equal pieces of their planes: lane (p, i, j) holds piece (i, j) of image p. Each piece has a
// border (halo) around it in memory, which holds its neighbours' pixels or the padding, so a tap
// of a convolution reads whole aligned vectors. Addresses are those of the first inner vector.
#pragma once

#include "plan.h"

// Copies borders from the neighbours: vector `to` becomes `from`, its lanes permuted.
struct Move {
    int32_t to, from;     // elements
    int32_t permutation;  // index into `permutations`
};

struct Halo {
    int64_t channels, channel;  // number, distance in elements
    int64_t moves_count;
    const Move* moves;
    const int32_t* permutations;  // [..][VL]: a lane, or VL for what lies outside of the image
};

// Gathers the tensors of smaller groups, or images as they came, into one tensor.
struct Regroup {
    int64_t channels, from_channel, to_channel;
    int64_t blocks, plane;   // plane: vectors of a block
    const int32_t* which;    // [blocks][VL]: source of each lane
    const int32_t* offsets;  // [blocks][plane][VL]: in the source's channel
    const int32_t* places;   // [blocks][plane]: in the target's channel
    int64_t sources, sweep;  // number; elements of each that are asked for beforehand
    int64_t row;             // places in turn whose offsets grow by one, or 0
};

// Images as they came, as bytes, four channels in a lane: round(x / step) + zero, 0 to 255.
// What a lane holds beyond the channels is `zero`.
struct Quantise {
    Regroup images;  // of one channel of lanes; `from_channel` between those of an image
    int64_t channels;  // of an image, 4 at most
    float step;
    int32_t zero;
};

// The same for whole vectors: each lane of a target comes from one of `count` vectors.
struct Merge {
    int64_t channels, from_channel, to_channel;
    int64_t places, count;
    const int32_t* which;    // [places][count]: source of each vector
    const int32_t* offsets;  // [places][count]: in the source's channel
    const int32_t* lanes;    // [places][count][VL]: VL + the lane that is taken, or the own lane
    const int32_t* to;       // [places]: in the target's channel
};

// A convolution as generated code (exporters/kernels/generated): a function runs on all of a
// range of places. Offsets in bytes; bit t: the place sees tap t.
struct Place {
    int32_t in, out;
    uint64_t bits;
};

using GeneratedCode = void (*)(const real* in, real* out, const real* residual,
                               const real* weights, const Place* first, const Place* end);

struct Generated {
    const GeneratedCode* functions;
    int64_t functions_count;
    const real* weights;
    const Place* places;
    int64_t places_count;
    int64_t chain;  // functions in turn of which each goes on with the sums of the one before
    int64_t tile;   // places that all functions run on before the next ones come
};

struct FoldedPool {
    int64_t channels, blocks;
    int64_t from_channel, from_block, from_row, from_column;
    int64_t to_channel, to_block, to_row, to_column;
    int64_t low_y, high_y, low_x, high_x;  // vectors that exist
    int64_t height, width;                 // of the output
    int64_t kernel, stride, padding;
};

struct FoldedMean {
    int64_t channels, channel, blocks, block, row, column, height, width;
    int64_t images;  // of one block
    int64_t area;      // pixels of a plane; vectors hold zeros beyond them
};

// A pixel-major tensor as rows of numbers, one of each image, plane behind plane from `first` on.
struct Returned {
    int64_t channels, first;
    int64_t blocks, block, row, column;  // numbers, distances in elements
    int64_t images, across;              // of a block; pieces of a plane's width
    int64_t height, width;               // of a piece
    int64_t plane_height, plane_width;
    int64_t of_bytes;  // four channels in a lane: (byte - zero) * step
    float step;
    int32_t zero;
};

enum Kind : int32_t {
    CONVOLVE, HALO, REGROUP, MAX_POOL, MEAN, ACT, GENERATED, MERGE, QUANTISE, BYTE_MAX_POOL, RETURN
};

struct Forward;  // of convolve.h
using Convolve = void (*)(const Plan* plan, const Forward* call, int threads);

struct Call {
    int32_t kind, act;
    int64_t in, out, residual;  // places in the table of addresses, -1 for none
    const void* what;           // Plan, Halo, Regroup, ...
    const real* bias;
    double fill;                // of a halo outside of the image
    Convolve convolve;          // from a library of its own, see convolve.cpp
};
