// patch_moments: mean and covariance of the patches of every channel, in one pass over x.
//
// Sums of products of float are kept accurate by a shift s per channel, near its mean, and finite by a scale: what follows is
// of the scaled x. z = x - s inside the input and 0 on
// padding, so a patch entry is u = s + z - s*out with out = 1 where the tap reads padding. Then
//     cov(u_i, u_j) = (sum z_i z_j - s (sum z_i out_j + sum out_i z_j) + s^2 sum out_i out_j) / P - d_i d_j,
//     d_i = mean(u_i) - s = (sum z_i - s sum out_i) / P,
// where the sums with `out` come from sums of z over the patches that share one set of padded taps (tap_masks.h).
// With stride and dilation 1, sum z_i z_j depends on the lag between the taps, but for a few rows and columns at the border.
#ifndef RFACONV_MOMENTS_H
#define RFACONV_MOMENTS_H

#include <math.h>

#include "moments_rows.h"
#include "scratch.h"
#include "tap_masks.h"

namespace rfaconv {
namespace RFACONV_ISA {

RFACONV_INLINE void add_wide(double* to, vf v) {
    dstore(to, dload(to) + widen<0>(v));
    if constexpr (halves == 2) dstore(to + dlanes, dload(to + dlanes) + widen<halves - 1>(v));
}

// Of each channel, from a few pixels spread over all images: a scale, and a value near the mean of what it scales. Any finite
// value is right; a near one is accurate.
static void sample_shift(const rfaconv_tensor* x, int64_t first_channel, int64_t channels, float* scale, float* shift) {
    const int64_t plane = x->size[2] * x->size[3], total = x->size[0] * plane, samples = imin(total, 32);
    for (int64_t c = 0; c < lanes; ++c) {
        double sum = 0.0, largest = 0.0;
        for (int64_t s = 0; c < channels && s < samples; ++s) {
            const int64_t at = imin(total - 1, int64_t(double((s * 0x9e3779b9ull) & 0xffffffffull) * 0x1p-32 * double(total)));
            const int64_t b = at / plane, r = at % plane / x->size[3], w = at % x->size[3];
            const int64_t offset = b * x->stride[0] + (first_channel + c) * x->stride[1] + r * x->stride[2] + w * x->stride[3];
            const double value = double(x->dtype == RFACONV_F32 ? static_cast<const float*>(x->data)[offset]
                                                                : bf16_to_float(static_cast<const uint16_t*>(x->data)[offset]));
            sum += value;
            if (value - value == 0.0 && ::fabs(value) > largest) largest = ::fabs(value);
        }
        scale[c] = largest > 0x1p40 ? float(::ldexp(1.0, -::ilogb(largest))) : 1.0f;
        const float mean = c < channels ? float(sum / double(samples) * double(scale[c])) : 0.0f;
        shift[c] = mean - mean == 0.0f ? mean : 0.0f;
    }
}

template <int K>
struct Moments {
    enum : int { T = K * K };
    const rfaconv_window& win;
    const AxisMasks &rows, &cols;
    const uint8_t *row_id, *col_id;
    const bool lag;             // the products are shared between equal lags
    const int64_t width, ring;  // columns and number of the rows kept
    // Scratch of one thread.
    float *kept, *row_part;  // ring padded rows and, for each, its sums[cols.count][K]; one more row of zeros
    float *products, *sums;  // float sums of the inner rows: lag [K][K][K] or [T][T]; [cols.count][K] or [cols.count][T]
    // Double sums of the thread's part of one block of channels.
    double *s = nullptr, *z = nullptr;  // [T][T] for i <= j, [rows.count][cols.count][T]
    int64_t pending = 0;                // outputs in the float sums

    int64_t row_floats() const { return width * lanes; }
    static int64_t thread_floats(int64_t width, int64_t ring, int cols) {
        return (ring + 1) * width * lanes + ring * cols * K * lanes + (T * T + cols * T) * int64_t(lanes);
    }

    void bind(float* memory) {
        kept = memory;
        row_part = kept + (ring + 1) * row_floats();
        products = row_part + ring * cols.count * K * lanes;
        sums = products + T * T * lanes;
        memset(kept + ring * row_floats(), 0, size_t(row_floats()) * sizeof(float));
        clear();
    }
    void clear() {
        memset(products, 0, size_t((T * T + cols.count * T) * lanes) * sizeof(float));
        pending = 0;
    }
    const float* row(int64_t padded_row) const { return kept + padded_row % ring * row_floats(); }
    const float* part(int64_t padded_row) const { return row_part + padded_row % ring * cols.count * K * lanes; }

    void stage(const ChannelRows& source, int64_t padded_row) {
        float* const at = kept + padded_row % ring * row_floats();
        source.read(padded_row, at);
        float* const to = row_part + padded_row % ring * cols.count * K * lanes;
        const int64_t step = win.stride[1] * lanes, tap = win.dilation[1] * lanes;
        vf v[K];
        row_sums<K>(at, cols.inner_begin, cols.inner_end, step, tap, v);
        for (int i = 0; i < K; ++i) store(to + i * lanes, v[i]);
        if (cols.count > 1) memset(to + K * lanes, 0, size_t((cols.count - 1) * K * lanes) * sizeof(float));
        for (int64_t w = 0; w < win.out[1]; ++w) {
            if (w == cols.inner_begin && cols.inner_end > w) w = cols.inner_end;
            if (w >= win.out[1]) break;
            float* const edge = to + col_id[w] * K * lanes;
            for (int i = 0; i < K; ++i) store(edge + i * lanes, load(edge + i * lanes) + load(at + w * step + i * tap));
        }
    }
    double* z_at(int64_t mask_row, int mask_col, int tap) const {
        return z + ((mask_row * cols.count + mask_col) * T + tap) * lanes;
    }
    double* s_at(int i, int j) const { return s + (i * T + j) * lanes; }

    void flush() {
        if (pending == 0) return;
        for (int c = 0; c < cols.count; ++c)
            for (int i = 0; i < T; ++i) add_wide(z_at(0, c, i), load(sums + (lag ? c * K + i % K : c * T + i) * lanes));
        if (lag) {
            for (int r = 0; r < K; ++r)
                for (int i = 0; i < K; ++i)
                    for (int j = r == 0 ? i : 0; j < K; ++j) {
                        const vf v = load(products + ((r * K + i) * K + j) * lanes);
                        for (int k = 0; k + r < K; ++k) add_wide(s_at(k * K + i, (k + r) * K + j), v);
                    }
        } else {
            for (int i = 0; i < T; ++i)
                for (int j = i; j < T; ++j) add_wide(s_at(i, j), load(products + (i * T + j) * lanes));
        }
        clear();
    }
    void done(int64_t outputs) {
        pending += outputs;
        if (pending >= segment) flush();
    }

    // Lag form: what padded row q gives to the outputs whose first tap row, or a later one, lies on it.
    void add_padded_row(int64_t q) {
        const float* at[K];
        for (int r = 0; r < K; ++r) at[r] = q + r < win.out[0] + K - 1 ? row(q + r) : kept + ring * row_floats();
        vf v[K][K][K];
        lag_products<K>(at, win.out[1], v);
        const float* const p = part(q);
        bool inner = q >= K - 1 && q < win.out[0];
        for (int r = 0; inner && r < K; ++r) inner = row_id[q - r] == 0;
        for (int r = 0; r < K; ++r)
            for (int i = 0; i < K; ++i)
                for (int j = r == 0 ? i : 0; j < K; ++j) {
                    if (inner) {
                        float* const to = products + ((r * K + i) * K + j) * lanes;
                        store(to, load(to) + v[r][i][j]);
                    } else {
                        for (int k = 0; k + r < K; ++k)
                            if (q - k >= 0 && q - k < win.out[0]) add_wide(s_at(k * K + i, (k + r) * K + j), v[r][i][j]);
                    }
                }
        for (int c = 0; c < cols.count; ++c)
            for (int i = 0; i < K; ++i) {
                const vf a = load(p + (c * K + i) * lanes);
                if (inner) {
                    float* const to = sums + (c * K + i) * lanes;
                    store(to, load(to) + a);
                } else {
                    for (int k = 0; k < K; ++k)
                        if (q - k >= 0 && q - k < win.out[0]) add_wide(z_at(row_id[q - k], c, k * K + i), a);
                }
            }
        if (inner) done(win.out[1]);
    }
    // Direct form: the outputs of row h.
    void add_output_row(int64_t h) {
        const int64_t step = win.stride[1] * lanes, tap = win.dilation[1] * lanes, top = h * win.stride[0];
        for (int a = 0; a < K; ++a)
            for (int b = a; b < K; ++b) {
                vf v[K][K];
                row_products<K>(row(top + a * win.dilation[0]), row(top + b * win.dilation[0]), win.out[1], step, tap, v);
                for (int i = 0; i < K; ++i)
                    for (int j = a == b ? i : 0; j < K; ++j) {
                        float* const to = products + ((a * K + i) * T + b * K + j) * lanes;
                        store(to, load(to) + v[i][j]);
                    }
            }
        for (int c = 0; c < cols.count; ++c)
            for (int k = 0; k < K; ++k)
                for (int i = 0; i < K; ++i) {
                    const vf a = load(part(top + k * win.dilation[0]) + (c * K + i) * lanes);
                    if (row_id[h] == 0) {
                        float* const to = sums + (c * T + k * K + i) * lanes;
                        store(to, load(to) + a);
                    } else {
                        add_wide(z_at(row_id[h], c, k * K + i), a);
                    }
                }
        done(win.out[1]);
    }
    // Rows [begin, end) of one image: padded rows in lag form, output rows in direct form.
    void add_rows(const ChannelRows& source, int64_t begin, int64_t end) {
        if (lag) {
            const int64_t last = win.out[0] + K - 1;
            for (int64_t r = begin; r < imin(last, begin + K - 1); ++r) stage(source, r);
            for (int64_t q = begin; q < end; ++q) {
                if (q + K - 1 < last) stage(source, q + K - 1);
                add_padded_row(q);
            }
        } else {
            int64_t next = 0;
            for (int64_t h = begin; h < end; ++h) {
                const int64_t top = h * win.stride[0];
                for (int64_t r = imax(next, top); r < top + ring; ++r) stage(source, r);
                next = top + ring;
                add_output_row(h);
            }
        }
        flush();
    }
    // s and z, summed over all threads, to mean and cov of one channel block.
    void finish(const ChannelRows& block, double* mean, double* cov) const {
        const double count = double(block.x->size[0]) * double(win.out[0] * win.out[1]);
        double d[T][lanes], n_out[T];
        for (int i = 0; i < T; ++i) {
            double total[lanes] = {0};
            for (int m = 0; m < rows.count * cols.count; ++m)
                for (int64_t l = 0; l < lanes; ++l) total[l] += z[(m * T + i) * lanes + l];
            n_out[i] = outs(i, i) * double(block.x->size[0]);
            for (int64_t l = 0; l < lanes; ++l) d[i][l] = (total[l] - double(block.shift[l]) * n_out[i]) / count;
            for (int64_t c = 0; c < block.channels; ++c)
                mean[(block.channel + c) * T + i] = (d[i][c] + double(block.shift[c])) / double(block.scale[c]);
        }
        for (int i = 0; i < T; ++i)
            for (int j = i; j < T; ++j) {
                double v[lanes], cross[lanes] = {0};  // 0 * d makes the covariance of a tap that saw Inf NaN, never -Inf
                for (int a = 0; a < rows.count; ++a)
                    for (int b = 0; b < cols.count; ++b) {
                        const double *zi = z_at(a, b, i), *zj = z_at(a, b, j);
                        if (out_of(a, b, j))
                            for (int64_t l = 0; l < lanes; ++l) cross[l] += zi[l];
                        if (out_of(a, b, i))
                            for (int64_t l = 0; l < lanes; ++l) cross[l] += zj[l];
                    }
                const double both = outs(i, j) * double(block.x->size[0]);
                const double* const sij = s_at(i, j);
                for (int64_t l = 0; l < lanes; ++l) {
                    const double shift = double(block.shift[l]);
                    v[l] = (sij[l] - shift * (cross[l] - shift * both)) / count - d[i][l] * d[j][l] + 0.0 * d[i][l];
                }
                for (int64_t c = 0; c < block.channels; ++c) {
                    const double unit = double(block.scale[c]), value = v[c] / (unit * unit);
                    cov[((block.channel + c) * T + i) * T + j] = value;
                    cov[((block.channel + c) * T + j) * T + i] = value;
                }
            }
    }
    bool out_of(int mask_row, int mask_col, int tap) const {
        return ((rows.mask[mask_row] >> (tap / K)) & 1u) != 0 || ((cols.mask[mask_col] >> (tap % K)) & 1u) != 0;
    }
    // Outputs of one image for which taps i and j both read padding.
    double outs(int i, int j) const {
        double n = 0.0;
        for (int a = 0; a < rows.count; ++a)
            for (int b = 0; b < cols.count; ++b)
                if (out_of(a, b, i) && out_of(a, b, j)) n += double(rows.outputs[a] * cols.outputs[b]);
        return n;
    }
};

template <int K>
static int32_t patch_moments_of(const rfaconv_tensor* x, const rfaconv_window* window, double* mean, double* cov,
                                int32_t threads) {
    enum : int { T = K * K };
    const rfaconv_window win = *window;
    const int64_t batch = x->size[0], blocks = ceil_div(x->size[1], lanes);
    const bool lag = win.stride[0] == 1 && win.stride[1] == 1 && win.dilation[0] == 1 && win.dilation[1] == 1;
    const int64_t width = (win.out[1] - 1) * win.stride[1] + (K - 1) * win.dilation[1] + 1;
    const int64_t ring = (K - 1) * win.dilation[0] + 1;
    const int64_t rows_total = lag ? win.out[0] + K - 1 : win.out[0];
    const int64_t chunks = imax(1, imin(ceil_div(4 * threads, blocks * batch), rows_total / 16));
    const int64_t tasks = blocks * batch * chunks;
    threads = int32_t(imin(threads, tasks));

    const auto row_masks = [&](uint8_t* id) {
        return AxisMasks(x->size[2], win.out[0], K, win.stride[0], win.pad[0], win.dilation[0], id);
    };
    const auto col_masks = [&](uint8_t* id) {
        return AxisMasks(x->size[3], win.out[1], K, win.stride[1], win.pad[1], win.dilation[1], id);
    };

    // Per thread: double sums and the shift for every block of channels, valid where touched; float work; touched.
    const int col_count = col_masks(nullptr).count;
    const int64_t work = Moments<K>::thread_floats(width, ring, col_count);
    const int64_t sums_doubles = (T * T + row_masks(nullptr).count * col_count * T) * int64_t(lanes);
    const int64_t doubles = sums_doubles + 2 * lanes;
    const int64_t bytes_thread = round_up(work * 4 + blocks * doubles * 8 + blocks, 64);
    Scratch scratch{size_t(bytes_thread * threads + win.out[0] + win.out[1])};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    char* const base = static_cast<char*>(scratch.data());
    uint8_t* const row_id = reinterpret_cast<uint8_t*>(base) + bytes_thread * threads;
    uint8_t* const col_id = row_id + win.out[0];
    const AxisMasks rows = row_masks(row_id), cols = col_masks(col_id);
    const auto sums_of = [&](int64_t t) { return reinterpret_cast<double*>(base + t * bytes_thread); };
    const auto touched_of = [&](int64_t t) { return base + t * bytes_thread + blocks * doubles * 8 + work * 4; };

    parallel(threads, [&](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        double* const sums = sums_of(me);
        char* const touched = touched_of(me);
        memset(touched, 0, size_t(blocks));
        Moments<K> m{win, rows, cols, row_id, col_id, lag, width, ring, nullptr, nullptr, nullptr, nullptr};
        m.bind(reinterpret_cast<float*>(sums + blocks * doubles));
        ChannelRows source(x, win.pad[0], win.pad[1], width);
        memset(source.outside, 0, sizeof(source.outside));
        for (int64_t task = tasks * me / team; task < tasks * (me + 1) / team; ++task) {
            const int64_t block = task / (batch * chunks), image = task / chunks % batch, chunk = task % chunks;
            m.s = sums + block * doubles;
            m.z = m.s + T * T * lanes;
            if (!touched[block]) {
                memset(m.s, 0, size_t(doubles) * sizeof(double));
                source.select(image, block * lanes);
                sample_shift(x, source.channel, source.channels, source.scale, source.shift);
                memcpy(m.s + sums_doubles, source.shift, sizeof(source.shift));
                memcpy(m.s + sums_doubles + lanes, source.scale, sizeof(source.scale));
                touched[block] = 1;
            }
            source.select(image, block * lanes);
            m.add_rows(source, rows_total * chunk / chunks, rows_total * (chunk + 1) / chunks);
        }
        crew.barrier();
        for (int64_t block = blocks * me / team; block < blocks * (me + 1) / team; ++block) {
            double* total = nullptr;
            for (int64_t t = 0; t < team; ++t) {
                if (!touched_of(t)[block]) continue;
                const double* const add = sums_of(t) + block * doubles;
                if (total == nullptr)
                    total = sums_of(t) + block * doubles;
                else
                    for (int64_t i = 0; i < sums_doubles; ++i) total[i] += add[i];
            }
            m.s = total;
            m.z = total + T * T * lanes;
            source.select(0, block * lanes);
            memcpy(source.shift, m.s + sums_doubles, sizeof(source.shift));
            memcpy(source.scale, m.s + sums_doubles + lanes, sizeof(source.scale));
            m.finish(source, mean, cov);
        }
    });
    return RFACONV_OK;
}

static int32_t patch_moments(const rfaconv_tensor* x, const rfaconv_window* window, double* mean, double* cov, int32_t threads) {
    switch (window->kernel[0]) {
        case 1: return patch_moments_of<1>(x, window, mean, cov, threads);
        case 3: return patch_moments_of<3>(x, window, mean, cov, threads);
        case 5: return patch_moments_of<5>(x, window, mean, cov, threads);
        default: return RFACONV_UNSUPPORTED;
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
