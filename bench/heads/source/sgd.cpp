// Epochs of several heads, shared among threads.
#include <mutex>

#include "head.h"

struct Block {
    const float* features;  // [count][width]
    const int64_t* labels;  // [count]
    const int64_t* orders;  // [epochs][heads][count]: row numbers
    const float* rates;     // [epochs]
    const float* decays;    // [heads]
    float* weights;         // [heads][classes][width]
    float* velocity;        // [heads][classes][width]
    float* bias;            // [heads][classes]
    float* bias_velocity;   // [heads][classes]
    float* scratch;         // [heads][classes][room]
    double* losses;         // [epochs][heads], written: summed cross-entropy, nats
    int64_t* diverged;      // [heads], written: first step of the block whose loss is NaN, or -1
    int64_t count, width, batch, room;
    int32_t epochs, heads, classes;
    float momentum;
};

namespace {

Head head_of(const Block& block, int64_t i) {
    const int64_t matrix = i * block.classes * block.width, row = i * block.classes;
    return {block.features,         block.labels,      block.weights + matrix,
            block.velocity + matrix, block.bias + row, block.bias_velocity + row,
            block.scratch + row * block.room, block.width, block.room,
            block.classes,          block.decays[i],   block.momentum};
}

// One epoch of one head. Its steps are done by `parts` threads together, each of them for some
// of the classes. False: it diverged.
bool train(const Block& block, int64_t index, int64_t epoch, int parts) {
    const Head head = head_of(block, index);
    const int64_t* order = block.orders + (epoch * block.heads + index) * block.count;
    const float rate = block.rates[epoch];
    double& total = block.losses[epoch * block.heads + index];
    total = 0;
    const auto together = [&](auto work) {
        if (parts == 1) return work(0, head.classes);
        Pool::instance().run(parts, parts, [&](int64_t part) {
            work(static_cast<int>(head.classes * part / parts),
                 static_cast<int>(head.classes * (part + 1) / parts));
        });
    };
    for (int64_t start = 0; start < block.count; start += block.batch) {
        const int64_t size = std::min(block.batch, block.count - start);
        const Batch batch{order + start, size, std::min(size, block.count - start - size)};
        together([&](int begin, int end) { head.score(batch, begin, end); });
        const double loss = head.softmax(batch);
        if (std::isnan(loss)) {
            const int64_t steps = (block.count + block.batch - 1) / block.batch;
            block.diverged[index] = epoch * steps + start / block.batch;
            return false;
        }
        total += loss;
        together([&](int begin, int end) { head.update(batch, rate, begin, end); });
    }
    return true;
}

// Each thread takes the head that is furthest behind, for an epoch, until all are done.
void share(const Block& block, int threads) {
    std::mutex guard;
    std::vector<int32_t> done(block.heads, 0);
    std::vector<bool> busy(block.heads, false);
    Pool::instance().run(threads, threads, [&](int64_t) {
        for (;;) {
            int64_t mine = -1;
            int32_t epoch = block.epochs;
            {
                std::lock_guard<std::mutex> lock(guard);
                for (int64_t i = 0; i < block.heads; ++i)
                    if (!busy[i] && done[i] < epoch) {
                        mine = i;
                        epoch = done[i];
                    }
                if (mine < 0) return;  // what is left is in other hands
                busy[mine] = true;
            }
            const bool good = train(block, mine, epoch, 1);
            std::lock_guard<std::mutex> lock(guard);
            done[mine] = good ? epoch + 1 : block.epochs;
            busy[mine] = false;
        }
    });
}

}  // namespace

extern "C" {

// Trains every head for a block of epochs. `together`: the threads work on the same head, one
// head after the other, instead of each on one of its own.
void heads_train(const Block* block, int threads, int together) {
    std::fill_n(block->diverged, block->heads, -1);
    if (!together) return share(*block, threads);
    const int parts = std::min(threads, block->classes);
    for (int64_t i = 0; i < block->heads; ++i)
        for (int64_t epoch = 0; epoch < block->epochs; ++epoch)
            if (!train(*block, i, epoch, parts)) break;
}
}
