// How the threads of a backward pass share images and channels: disjoint parts of dx either way, so nothing races.
#ifndef RFACONV_THREAD_GRID_H
#define RFACONV_THREAD_GRID_H

#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Shares of images cost a copy of the weight's gradient each; shares of channels cost packing dy once more each. With many
// pixels the former is the smaller cost.
struct ThreadGrid {
    int64_t image_shares, channel_shares, images, all_channels, channels;  // channels: of one share, at most

    ThreadGrid(const Shape& s, int64_t outputs, int64_t threads) : images(s.B), all_channels(s.C) {
        (void)outputs;
        const bool many = s.pixels >= 2048 * threads && (s.B % threads == 0 || s.B >= 4 * threads);
        if (many) {
            image_shares = threads, channel_shares = 1;
        } else {
            channel_shares = imin(threads, ceil_div(s.C, 4));
            image_shares = imin(s.B, threads / channel_shares);
        }
        channels = 0;
        for (int64_t i = 0; i < channel_shares; ++i) channels = imax(channels, first_channel(i + 1) - first_channel(i));
    }
    int64_t threads() const { return image_shares * channel_shares; }
    int64_t first_image(int64_t share) const { return images * share / image_shares; }
    int64_t first_channel(int64_t share) const { return all_channels * share / channel_shares; }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
