// Reads JSON into a variant, writes it again; and the calendar part of chrono.
#include <charconv>
#include <chrono>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

struct Value : std::variant<std::nullptr_t, bool, double, std::string, std::vector<Value>, std::map<std::string, Value>> {
    using variant::variant;
};

Value parse(std::string_view &in) {
    auto take = [&in](std::string_view token) {
        in.remove_prefix(std::min(in.find_first_not_of(" \n"), in.size()));
        return in.starts_with(token) ? (in.remove_prefix(token.size()), true) : false;
    };
    auto need = [&](std::string_view token) {
        if (!take(token)) throw std::runtime_error("expected " + std::string(token) + " before \"" + std::string(in.substr(0, 5)) + '"');
    };
    if (take("null")) return nullptr;
    if (take("true")) return true;
    if (take("false")) return false;
    if (take("\"")) {
        std::string text;
        for (; !in.empty() && in[0] != '"'; in.remove_prefix(1)) text += in[0];
        return need("\""), text;
    }
    if (take("[")) {
        std::vector<Value> items;
        if (take("]")) return items;
        do items.push_back(parse(in)); while (take(","));
        return need("]"), items;
    }
    if (take("{")) {
        std::map<std::string, Value> members;
        do { auto key = std::get<std::string>(parse(in)); need(":"); members[key] = parse(in); } while (take(","));
        return need("}"), members;
    }
    double number = 0;
    auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), number);
    if (error != std::errc{}) throw std::runtime_error("no value at \"" + std::string(in.substr(0, 5)) + '"');
    return in.remove_prefix(end - in.data()), number;
}

void write(const Value &value) {
    const char *gap = "";
    if (auto flag = std::get_if<bool>(&value)) std::cout << (*flag ? "true" : "false");
    else if (auto number = std::get_if<double>(&value)) { char text[32]; std::cout.write(text, std::to_chars(text, text + 32, *number).ptr - text); }
    else if (auto text = std::get_if<std::string>(&value)) std::cout << '"' << *text << '"';
    else if (auto items = std::get_if<std::vector<Value>>(&value)) { std::cout << '['; for (auto &item : *items) std::cout << gap, write(item), gap = ","; std::cout << ']'; }
    else if (auto members = std::get_if<std::map<std::string, Value>>(&value)) { std::cout << '{'; for (auto &[key, item] : *members) std::cout << gap << '"' << key << "\":", write(item), gap = ","; std::cout << '}'; }
    else std::cout << "null";
}

int main() {
    for (std::string_view text : {R"({"b": [1, 2.50, -3e10, 0.1, 1e300], "ä": {"none": null}, "a": [[], true, "x y"]})", "[1, 2", R"({"k" 1})", "[nul]"})
        try { write(parse(text)), std::cout << '\n'; } catch (const std::exception &error) { std::cout << error.what() << '\n'; }
    using namespace std::chrono;
    for (year y : {1999y, 2000y, 2024y, 2100y}) {
        year_month_day end{y / February / last}, friday{y / March / Friday[2]};
        std::cout << int(y) << ": " << unsigned(end.day()) << " days, second Friday of March " << unsigned(friday.day()) << ", day " << (sys_days(friday) - sys_days(y / January / 1)).count() + 1 << '\n';
    }
    sys_seconds moment = sys_days(2024y / 2 / 28) + 23h + 59min + 60s;
    year_month_day date(floor<days>(moment));
    std::cout << moment.time_since_epoch().count() << ' ' << unsigned(date.month()) << '/' << unsigned(date.day()) << ' ' << duration_cast<minutes>(36h + 90s).count() << '\n';
}
