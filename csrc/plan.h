// How a projection is cut into tiles, chunks of channels and shares of threads.
#ifndef RFACONV_PLAN_H
#define RFACONV_PLAN_H

#include "gemm.h"
#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Threads either own ranges of pixels (team of 1) or, where there are few pixels, share each tile: every thread makes the product
// for its share of the outputs. The panel for it is made by each thread for itself where that is little work next to the product,
// else by all together, each its share of the channels, with a barrier between: what one core wrote and another reads can cost as
// much as making it, where the cores have no cache in common.
struct Plan {
    int64_t threads, team;
    int64_t makers;        // threads that make one panel: 1 or the team
    int64_t channels;      // of a chunk
    int64_t vectors;       // of a tile, at most
    int64_t outputs;       // of a thread, at most
    int64_t plane_channels;  // staged at once by a thread
};

// In floats; for caches that nearly all processors of the last years have. A wrong guess costs time only.
enum : int64_t { direct_floats = 200 * 1024, chunk_rows = lanes == 8 ? 288 : 180, few_vectors = 12, max_tile_vectors = lanes == 4 ? 60 : 30 };
// Vector instructions that make the T rows of one channel: what to weigh those of the product against.
enum : int64_t { panel_cost = 190 };
enum : int64_t { panel_floats = 220 * 1024, sums_floats = 256 * 1024 };

// Product: see product.h.
template <class Product>
inline Plan make_plan(const Shape& s, int64_t outputs, int64_t threads) {
    Plan p;
    const int64_t vectors = ceil_div(s.pixels, lanes);
    p.threads = threads;
    p.team = threads > 1 && vectors < few_vectors * threads && outputs >= threads * Product::output_step ? threads : 1;
    p.outputs = p.team == 1 ? outputs : round_up(ceil_div(outputs, p.team), int64_t(Product::output_step));
    // At most a fifth more work than the product.
    p.makers = 5 * (p.team - 1) * panel_cost <= Product::cost * outputs ? 1 : p.team;

    const int64_t chunks = ceil_div(s.C, int64_t(Product::most_channels));
    p.channels = round_up(ceil_div(s.C, chunks), p.makers * Product::channel_step);
    p.plane_channels = ceil_div(p.channels, p.makers);

    // The panel of a chunk and the weights for it share the second-level cache; the sums are only passed through.
    const int64_t depth = Product::rows(p.channels), fit = (panel_floats - p.outputs * depth) / (depth * lanes);
    int64_t most_vectors = imax(strip_vectors, imin(fit, sums_floats / (p.outputs * lanes)));
    most_vectors = imin(most_vectors, max_tile_vectors) / strip_vectors * strip_vectors;
    const int64_t own = p.team == 1 ? ceil_div(vectors, threads) : vectors, tiles = ceil_div(own, most_vectors);
    p.vectors = imin(most_vectors, round_up(ceil_div(own, tiles), strip_vectors));
    return p;
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
