// Coroutines as generators, one inside another, and plain recursion that goes deep.
#include <coroutine>
#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

template <typename T>
class Generator {
public:
    struct promise_type {
        T value;
        std::exception_ptr error;
        Generator get_return_object() { return Generator(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(T v) { value = std::move(v); return {}; }
        void return_void() {}
        void unhandled_exception() { error = std::current_exception(); }
    };
    explicit Generator(std::coroutine_handle<promise_type> h) : handle(h) {}
    Generator(Generator &&other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
    ~Generator() { if (handle) handle.destroy(); }
    bool next() {
        handle.resume();
        if (handle.promise().error) std::rethrow_exception(handle.promise().error);
        return !handle.done();
    }
    const T &value() const { return handle.promise().value; }

private:
    std::coroutine_handle<promise_type> handle;
};

struct Node { int key; std::unique_ptr<Node> left, right; };

void insert(std::unique_ptr<Node> &tree, int key) {
    if (!tree) tree.reset(new Node{key, nullptr, nullptr});
    else insert(key < tree->key ? tree->left : tree->right, key);
}
Generator<int> in_order(const Node *tree) {
    if (!tree) co_return;
    for (auto left = in_order(tree->left.get()); left.next();) co_yield left.value();
    co_yield tree->key;
    for (auto right = in_order(tree->right.get()); right.next();) co_yield right.value();
}
Generator<std::string> countdown(int from) {
    for (; from > 0; from--) co_yield std::to_string(from) + "…";
    throw std::string("lift-off");
}
std::uint64_t mix(int depth, std::uint64_t seed) {
    volatile std::uint64_t pad[16] = {seed};
    return depth == 0 ? seed : mix(depth - 1, seed * 6364136223846793005u + 1442695040888963407u) ^ pad[0];
}

int main() {
    std::unique_ptr<Node> tree;
    for (unsigned i = 1; i <= 15; i++) insert(tree, static_cast<int>(i * 37 % 101));
    for (auto keys = in_order(tree.get()); keys.next();) std::cout << keys.value() << ' ';
    auto count = countdown(3);
    try { while (count.next()) std::cout << count.value(); } catch (const std::string &end) { std::cout << end << '\n'; }
    std::cout << mix(150000, 1) << ' ' << mix(150000, 2) % 1000 << '\n';
    for (int i = 0; i < 100000; i++) tree.reset(new Node{i, std::move(tree), nullptr});
    std::cout << "letting go of 100000 nodes, one inside the other" << std::endl;
    tree.reset();
}
