// Ranges, views and algorithms over lines from standard input.
#include <algorithm>
#include <cctype>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <map>
#include <numeric>
#include <ranges>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace views = std::views;
namespace ranges = std::ranges;

int main() {
    std::vector<std::string> lines;
    for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
    std::cout << lines.size() << " lines, " << ranges::count_if(lines, &std::string::empty) << " empty\n";

    const std::regex pattern(R"((\w+)\s*=\s*("[^"]*"|[-+]?\d+(?:\.\d+)?)\s*;?)");
    std::map<std::string, std::vector<std::string>> settings;
    for (const auto &line : lines)
        for (std::sregex_iterator it(line.begin(), line.end(), pattern), end; it != end; ++it)
            settings[(*it)[1]].push_back((*it)[2]);
    for (const auto &[key, values] : settings) {
        std::cout << std::left << std::setw(8) << key << std::right;
        for (const auto &value : values) std::cout << ' ' << value;
        std::cout << '\n';
    }

    std::unordered_map<std::string, int> counts;
    for (const auto &line : lines) {
        std::istringstream words(line);
        for (std::string word; words >> word;) {
            std::erase_if(word, [](unsigned char c) { return std::ispunct(c); });
            ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
            if (word.size() > 2) ++counts[word];
        }
    }
    std::vector<std::pair<std::string, int>> top(counts.begin(), counts.end());
    ranges::sort(top, [](auto &a, auto &b) { return std::tie(b.second, a.first) < std::tie(a.second, b.first); });
    for (auto &[word, count] : top | views::take(5)) std::cout << count << ' ' << word << '\n';

    auto odd_squares = views::iota(1) | views::filter([](int n) { return n % 2; }) | views::transform([](int n) { return n * n; });
    for (int n : odd_squares | views::drop(3) | views::take_while([](int n) { return n < 400; })) std::cout << n << ' ';
    auto lengths = lines | views::transform(&std::string::size);
    std::cout << "| longest " << ranges::max(lengths) << ", all " << std::accumulate(lengths.begin(), lengths.end(), 0u) << '\n';
    for (auto part : views::split(std::string_view("a,b,,c"), ',')) std::cout << '[' << std::string_view(part.begin(), part.end()) << ']';
    ranges::copy(std::set<int>{3, 1, 2} | views::reverse, std::ostream_iterator<int>(std::cout, ";"));
    std::cout << '\n' << std::fixed << std::setprecision(3) << 2.0 / 3 << ' ' << std::scientific << 12345.678 << ' ' << std::hexfloat << 0.5 << '\n';
}
