// patch_moments_backward: dx = col2im(du), du = (dm + (dS + dS')(u - m)) / P.
//
// Written as a gather, so that every input pixel is computed once: with B = (dS + dS')/P and c = dm/P - B (m - s),
//     dx[q] = sum over the taps i whose output p = (q - o_i)/stride exists of c_i + sum_j B_ij (u_j(p) - s),
// s one shift per channel near its mean (padding is then -s). Of values beyond float's squares B would vanish: u - s is scaled
// down and B up. Away from the border, with stride and dilation 1, the double sum
// collapses to a constant and a (2k-1)x(2k-1) kernel over the lags o_j - o_i, symmetric because B is.
#ifndef RFACONV_MOMENTS_BACKWARD_H
#define RFACONV_MOMENTS_BACKWARD_H

#include <math.h>

#include "channel_rows.h"
#include "moments_rows.h"
#include "scratch.h"

namespace rfaconv {
namespace RFACONV_ISA {

template <int K>
struct MomentsBackward {
    enum : int { T = K * K, LAGS = (T * 4 - 4 * K + 1) / 2 };  // half of (2K-1)^2, without lag 0
    alignas(64) float b[T][T][lanes];
    alignas(64) float c[T][lanes];
    alignas(64) float lag[LAGS + 1][lanes];  // lag[0] is lag (0, 0), then the lags after it in reading order
    alignas(64) float constant[lanes];

    void load_block(const double* dmean, const double* dcov, const double* mean, const ChannelRows& block, double count) {
        for (int64_t l = 0; l < lanes; ++l) {
            const bool live = l < block.channels;
            const int64_t channel = live ? block.channel + l : 0;
            const double *dm = dmean + channel * T, *ds = dcov + channel * T * T, *m = mean + channel * T;
            double sum = 0.0, by_lag[2 * K - 1][2 * K - 1] = {{0.0}};
            for (int i = 0; i < T; ++i) {
                double at = dm[i] / count;
                const double unit = double(block.scale[l]), shift = double(block.shift[l]) / unit;
                for (int j = 0; j < T; ++j) {
                    const double v = live ? (ds[i * T + j] + ds[j * T + i]) / count : 0.0;
                    b[i][j][l] = float(v / unit);
                    by_lag[j / K - i / K + K - 1][j % K - i % K + K - 1] += v / unit;
                    at -= v * (m[j] - shift);
                }
                c[i][l] = live ? float(at) : 0.0f;
                sum += live ? at : 0.0;
            }
            constant[l] = float(sum);
            for (int k = 0; k <= LAGS; ++k) lag[k][l] = float((&by_lag[0][0])[LAGS + k]);
        }
    }

    // Scale and shift of the channels of a block.
    static void centre(ChannelRows& block, const double* dcov, const double* mean, double count) {
        for (int64_t l = 0; l < lanes; ++l) {
            const bool live = l < block.channels;
            const int64_t channel = live ? block.channel + l : 0;
            double largest = 0.0;
            for (int i = 0; i < T * T; ++i) {
                const double v = ::fabs(dcov[channel * T * T + i]) / count;
                if (v > largest && v - v == 0.0) largest = v;
            }
            block.scale[l] = largest > 0.0 && largest < 0x1p-80 ? float(::ldexp(1.0, imax(-126, ::ilogb(largest) / 2))) : 1.0f;
            const float s = live ? float(mean[channel * T + T / 2] * double(block.scale[l])) : 0.0f;
            block.shift[l] = s - s == 0.0f ? s : 0.0f;
            block.outside[l] = -block.shift[l];
        }
    }

    // at[r]: the padded row of q, r - (K-1) rows on; inner pixels [begin, end) of padded columns.
    void inner_row(const float* const at[2 * K - 1], int64_t begin, int64_t end, float* out) const {
        const vf all = load(constant);
        vf by_lag[LAGS + 1];
        RFACONV_UNROLL
        for (int k = 0; k <= LAGS; ++k) by_lag[k] = load(lag[k]);
        int64_t w = begin;
        for (; w + 2 <= end; w += 2) inner_pixels<2>(at, w, by_lag, all, out);
        for (; w < end; ++w) inner_pixels<1>(at, w, by_lag, all, out);
    }
    // Neighbours share most of what they load.
    template <int N>
    RFACONV_METHOD void inner_pixels(const float* const at[2 * K - 1], int64_t w, const vf* by_lag, vf all, float* out) const {
        vf v[N][2];
        RFACONV_UNROLL
        for (int n = 0; n < N; ++n) v[n][0] = fma(by_lag[0], load(at[K - 1] + (w + n) * lanes), all), v[n][1] = zero();
        RFACONV_UNROLL
        for (int k = 1; k <= LAGS; ++k) {
            const int r = (LAGS + k) / (2 * K - 1) - (K - 1), x = (LAGS + k) % (2 * K - 1) - (K - 1);
            RFACONV_UNROLL
            for (int n = 0; n < N; ++n) {
                const vf pair = load(at[K - 1 + r] + (w + n + x) * lanes) + load(at[K - 1 - r] + (w + n - x) * lanes);
                v[n][k & 1] = fma(by_lag[k], pair, v[n][k & 1]);
            }
        }
        RFACONV_UNROLL
        for (int n = 0; n < N; ++n) store(out + (w + n) * lanes, v[n][0] + v[n][1]);
    }
    // Any pixel: rows(i, j) is the padded row that tap row j reads for the output whose tap row i reads this pixel.
    template <class Rows>
    void any_pixel(const Rows& rows, uint32_t row_taps, uint32_t col_taps, int64_t column, int64_t dilation, float* out) const {
        vf v[4] = {zero(), zero(), zero(), zero()};
        for (int ir = 0; ir < K; ++ir) {
            if (!((row_taps >> ir) & 1u)) continue;
            for (int ic = 0; ic < K; ++ic) {
                if (!((col_taps >> ic) & 1u)) continue;
                const int i = ir * K + ic;
                v[3] = v[3] + load(c[i]);
                RFACONV_UNROLL
                for (int jr = 0; jr < K; ++jr) {
                    const float* const from = rows(ir, jr) + (column - ic * dilation) * lanes;
                    RFACONV_UNROLL
                    for (int jc = 0; jc < K; ++jc)
                        v[jc % 3] = fma(load(b[i][jr * K + jc]), load(from + jc * dilation * lanes), v[jc % 3]);
                }
            }
        }
        store(out, (v[0] + v[1]) + (v[2] + v[3]));
    }
};

// The taps of an axis through which padded position q enters an output.
RFACONV_INLINE uint32_t taps_reaching(int64_t q, int64_t kernel, int64_t stride, int64_t dilation, int64_t out) {
    uint32_t taps = 0;
    for (int64_t k = 0; k < kernel; ++k) {
        const int64_t at = q - k * dilation;
        if (at >= 0 && at % stride == 0 && at / stride < out) taps |= 1u << k;
    }
    return taps;
}

template <int K>
static int32_t patch_moments_backward_of(const double* dmean, const double* dcov, const rfaconv_tensor* x, const double* mean,
                                         const rfaconv_window* window, rfaconv_tensor* dx, int32_t threads) {
    const rfaconv_window win = *window;
    const int64_t batch = x->size[0], blocks = ceil_div(x->size[1], lanes), height = x->size[2], in_width = x->size[3];
    const bool unit = win.stride[0] == 1 && win.stride[1] == 1 && win.dilation[0] == 1 && win.dilation[1] == 1;
    // Padded columns up to the last one that a window or the input reaches.
    const int64_t reach = (win.out[1] - 1) * win.stride[1] + (K - 1) * win.dilation[1] + 1;
    const int64_t width = imax(reach, win.pad[1] + in_width);
    const int64_t halo = (K - 1) * win.dilation[0], ring = 2 * halo + 1;
    const int64_t chunks = imax(1, imin(ceil_div(4 * threads, blocks * batch), height / 16));
    const int64_t tasks = blocks * batch * chunks;
    const double count = double(batch) * double(win.out[0] * win.out[1]);
    threads = int32_t(imin(threads, tasks));

    const int64_t table = round_up(int64_t(sizeof(MomentsBackward<K>)), 64);
    const int64_t bytes_thread = table + round_up((ring + 1) * width * lanes * 4 + width * 4, 64);
    Scratch scratch{size_t(bytes_thread * threads)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;

    parallel(threads, [&](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        char* const base = static_cast<char*>(scratch.data()) + me * bytes_thread;
        MomentsBackward<K>& m = *reinterpret_cast<MomentsBackward<K>*>(base);
        float* const kept = reinterpret_cast<float*>(base + table);
        float* const out = kept + ring * width * lanes;
        uint32_t* const col_taps = reinterpret_cast<uint32_t*>(out + width * lanes);
        for (int64_t w = 0; w < width; ++w) col_taps[w] = taps_reaching(w, K, win.stride[1], win.dilation[1], win.out[1]);
        ChannelRows source(x, win.pad[0], win.pad[1], width);
        int64_t loaded = -1;
        for (int64_t task = tasks * me / team; task < tasks * (me + 1) / team; ++task) {
            const int64_t block = task / (batch * chunks), image = task / chunks % batch, chunk = task % chunks;
            source.select(image, block * lanes);
            if (block != loaded) {
                MomentsBackward<K>::centre(source, dcov, mean, count);
                m.load_block(dmean, dcov, mean, source, count);
                loaded = block;
            }
            const int64_t begin = win.pad[0] + height * chunk / chunks, end = win.pad[0] + height * (chunk + 1) / chunks;
            const auto row = [&](int64_t q) { return kept + (q + ring) % ring * width * lanes; };
            for (int64_t q = imax(0, begin - halo); q < begin + halo; ++q) source.read(q, row(q));
            for (int64_t q = begin; q < end; ++q) {
                source.read(q + halo, row(q + halo));
                const uint32_t row_taps = taps_reaching(q, K, win.stride[0], win.dilation[0], win.out[0]);
                int64_t inner_begin = width, inner_end = width;
                if (unit && row_taps == (1u << K) - 1u) {
                    inner_begin = imin(width, imax(K - 1, win.pad[1]));
                    inner_end = imax(inner_begin, imin(win.out[1], win.pad[1] + in_width));
                    const float* at[2 * K - 1];
                    for (int r = 0; r < 2 * K - 1; ++r) at[r] = row(q + r - (K - 1));
                    m.inner_row(at, inner_begin, inner_end, out);
                }
                const auto rows = [&](int i, int j) { return row(q + (j - i) * win.dilation[0]); };
                for (int64_t w = win.pad[1]; w < win.pad[1] + in_width; ++w) {
                    if (w == inner_begin && inner_end > w) w = inner_end;
                    if (w >= win.pad[1] + in_width) break;
                    m.any_pixel(rows, row_taps, col_taps[w], w, win.dilation[1], out + w * lanes);
                }
                write_channels(out + win.pad[1] * lanes, dx, image, source.channel, source.channels, q - win.pad[0]);
            }
        }
    });
    return RFACONV_OK;
}

static int32_t patch_moments_backward(const double* dmean, const double* dcov, const rfaconv_tensor* x, const double* mean,
                                      const rfaconv_window* window, rfaconv_tensor* dx, int32_t threads) {
    switch (window->kernel[0]) {
        case 1: return patch_moments_backward_of<1>(dmean, dcov, x, mean, window, dx, threads);
        case 3: return patch_moments_backward_of<3>(dmean, dcov, x, mean, window, dx, threads);
        case 5: return patch_moments_backward_of<5>(dmean, dcov, x, mean, window, dx, threads);
        default: return RFACONV_UNSUPPORTED;
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
