// Exceptions: nested ones, unwinding, and an exit code at the end.
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

struct Noisy {
    std::string name;
    explicit Noisy(std::string n) : name(std::move(n)) { std::cout << '+' << name << ' '; }
    ~Noisy() { std::cout << '-' << name << (std::uncaught_exceptions() ? "! " : " "); }
    Noisy(const Noisy &) = delete;
};

class ConfigError : public std::runtime_error {
public:
    ConfigError(const std::string &key, int line) : std::runtime_error("bad value for " + key), line(line) {}
    int line;
};

int parse(const std::string &text) {
    Noisy guard("parse");
    return std::stoi(text);
}

int setting(const std::string &key, const std::string &text, int line) try {
    auto guard = std::make_unique<Noisy>(key);
    return parse(text);
} catch (...) {
    std::throw_with_nested(ConfigError(key, line));
}

void describe(const std::exception &error, int depth = 0) {
    std::cout << '\n' << std::string(2 * depth + 2, ' ') << error.what();
    if (auto config = dynamic_cast<const ConfigError *>(&error)) std::cout << " (line " << config->line << ')';
    try {
        std::rethrow_if_nested(error);
    } catch (const std::exception &inner) {
        describe(inner, depth + 1);
    }
}

int main() {
    for (auto [key, text] : {std::pair{"width", "120px"}, {"height", "tall"}, {"depth", "99999999999"}})
        try {
            std::cout << setting(key, text, 7) << '\n';
        } catch (const std::exception &error) {
            describe(error), std::cout << '\n';
        }
    try { std::vector<int>(3).at(10); } catch (const std::out_of_range &) { std::cout << "out of range\n"; }
    try { throw std::system_error(ENOENT, std::generic_category(), "open"); } catch (const std::system_error &e) { std::cout << e.what() << '\n'; }
    try { (void)std::make_unique<char[]>(static_cast<std::size_t>(1) << 62); } catch (const std::bad_alloc &) { std::cout << "no room\n"; }
    try { Noisy a("a"), b("b"); throw 42; } catch (int n) { std::cout << n << '\n'; }
    std::set_terminate([] { std::cout << "terminating" << std::endl; std::_Exit(4); });
    throw ConfigError("everything", 0);
}
