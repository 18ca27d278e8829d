// A whole number without an upper end; the arguments are sums to work out.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

class Natural {
    std::vector<std::uint32_t> limbs; // least significant first

    void trim() { while (!limbs.empty() && limbs.back() == 0) limbs.pop_back(); }

public:
    Natural(std::uint32_t n = 0) : limbs{n} { trim(); }
    explicit Natural(std::string_view text) {
        for (char c : text) {
            if (c < '0' || c > '9') throw std::invalid_argument(std::string("not a digit: ") + c);
            *this = *this * 10 + Natural(c - '0');
        }
    }
    friend Natural operator+(const Natural &a, const Natural &b) {
        Natural sum;
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < std::max(a.limbs.size(), b.limbs.size()) || carry; i++, carry >>= 32) {
            carry += (i < a.limbs.size() ? a.limbs[i] : 0ull) + (i < b.limbs.size() ? b.limbs[i] : 0ull);
            sum.limbs.push_back(static_cast<std::uint32_t>(carry));
        }
        return sum;
    }
    friend Natural operator*(const Natural &a, const Natural &b) {
        Natural product;
        product.limbs.assign(a.limbs.size() + b.limbs.size(), 0);
        for (std::size_t i = 0; i < a.limbs.size(); i++) {
            std::uint64_t carry = 0;
            for (std::size_t j = 0; j < b.limbs.size() || carry; j++, carry >>= 32) {
                carry += product.limbs[i + j] + std::uint64_t{a.limbs[i]} * (j < b.limbs.size() ? b.limbs[j] : 0);
                product.limbs[i + j] = static_cast<std::uint32_t>(carry);
            }
        }
        product.trim();
        return product;
    }
    std::uint32_t divide(std::uint32_t by) {
        std::uint64_t rest = 0;
        for (auto limb = limbs.rbegin(); limb != limbs.rend(); ++limb) {
            rest = rest << 32 | *limb;
            *limb = static_cast<std::uint32_t>(rest / by);
            rest %= by;
        }
        trim();
        return static_cast<std::uint32_t>(rest);
    }
    friend std::ostream &operator<<(std::ostream &out, Natural n) {
        std::string digits;
        do digits += static_cast<char>('0' + n.divide(10)); while (!n.limbs.empty());
        return out << std::string(digits.rbegin(), digits.rend());
    }
};

int main(int argc, char **argv) try {
    Natural power = 1;
    for (int i = 0; i < 200; i++) power = power * 7;
    std::cout << "7^200 = " << power << "\nlast digit in base 1000: " << power.divide(1000) << '\n';
    for (int i = 1; i < argc; i++) {
        std::istringstream words(argv[i]);
        std::string left, sign, right;
        words >> left >> sign >> right;
        Natural result = sign == "*" ? Natural(left) * Natural(right) : Natural(left) + Natural(right);
        std::cout << argv[i] << " = " << result << '\n';
    }
} catch (const std::invalid_argument &error) {
    std::cout << error.what() << std::endl;
    return 2;
}
