// Templates: concepts, folds, constexpr, and matrices of anything that adds and multiplies.
#include <array>
#include <concepts>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <string>
#include <type_traits>
#include <variant>

template <typename T>
concept Ring = requires(T a, T b) {
    { a + b } -> std::convertible_to<T>;
    { a * b } -> std::convertible_to<T>;
};

template <std::uint64_t P>
struct Mod {
    std::uint64_t value = 0;
    friend constexpr Mod operator+(Mod a, Mod b) { return {(a.value + b.value) % P}; }
    friend constexpr Mod operator*(Mod a, Mod b) { return {a.value * b.value % P}; }
    friend std::ostream &operator<<(std::ostream &out, Mod m) { return out << m.value << " mod " << P; }
    auto operator<=>(const Mod &) const = default;
};

template <Ring T, std::size_t N>
struct Matrix : std::array<std::array<T, N>, N> {
    constexpr Matrix operator*(const Matrix &other) const {
        Matrix result{};
        for (std::size_t i = 0; i < N; i++)
            for (std::size_t j = 0; j < N; j++)
                for (std::size_t k = 0; k < N; k++)
                    result[i][j] = result[i][j] + (*this)[i][k] * other[k][j];
        return result;
    }
};

template <Ring T>
constexpr T fibonacci(unsigned n) {
    Matrix<T, 2> power{{{{T{1}, T{0}}, {T{0}, T{1}}}}}, step{{{{T{1}, T{1}}, {T{1}, T{0}}}}};
    for (; n; n >>= 1, step = step * step)
        if (n & 1) power = power * step;
    return power[0][1];
}
static_assert(fibonacci<std::uint64_t>(50) == 12586269025u);

template <typename... Ts> auto sum(Ts... values) { return (values + ...); }
template <typename... Fs> struct Overloaded : Fs... { using Fs::operator()...; };

int main() {
    std::cout << fibonacci<std::uint64_t>(93) << ' ' << fibonacci<Mod<1000000007>>(1000000000) << '\n';
    std::cout << std::setprecision(12) << fibonacci<double>(100) << ' ' << sum(1, 2.5, 'a') << ' ' << sum(std::string("con"), "cat") << '\n';
    std::array<std::variant<int, double, std::string>, 3> things{42, 2.5, "text"};
    for (const auto &thing : things)
        std::visit(Overloaded{[](int i) { std::cout << "int " << i; }, [](double d) { std::cout << "double " << d; },
                              [](const std::string &s) { std::cout << "string " << std::quoted(s); }}, thing), std::cout << '\n';
    std::cout << std::boolalpha << (Mod<7>{3} * Mod<7>{5} == Mod<7>{1}) << ' ' << Ring<std::string> << ' ' << Ring<int> << '\n';
}
