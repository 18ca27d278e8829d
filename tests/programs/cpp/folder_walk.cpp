// Makes a tree of files in the temporary folder, walks over it and takes it away again.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>
#include <unistd.h>

namespace fs = std::filesystem;

class Scratch {
public:
    Scratch() {
        std::string name = (fs::temp_directory_path() / "walk-XXXXXX").string();
        if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
        path = name;
    }
    ~Scratch() { std::cout << "removed " << fs::remove_all(path) << '\n'; }
    fs::path path;
};

void write(const fs::path &path, const std::string &text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
}

int main(int argc, char **argv) {
    Scratch scratch;
    for (int i = 1; i < argc; i++) write(scratch.path / argv[i], std::string(i * 100, char('a' + i)));
    fs::create_symlink(argv[1], scratch.path / "link");
    fs::rename(scratch.path / argv[2], scratch.path / "renamed.txt");

    std::vector<fs::directory_entry> entries{fs::recursive_directory_iterator(scratch.path), {}};
    std::sort(entries.begin(), entries.end());
    for (const auto &entry : entries) {
        std::cout << (entry.is_symlink() ? 'l' : entry.is_directory() ? 'd' : '-') << ' ' << std::setw(5);
        if (entry.is_regular_file()) std::cout << entry.file_size();
        else std::cout << "";
        std::cout << ' ' << entry.path().lexically_relative(scratch.path).generic_string() << '\n';
    }
    std::cout << fs::path("a/./b/../c.tar.gz").lexically_normal() << ' ' << fs::path("x/y.tar.gz").stem() << '\n';
    std::error_code error;
    (void)fs::file_size(scratch.path / "absent", error);
    std::cout << error.message() << '\n';

    std::fstream file("numbers.bin", std::ios::in | std::ios::out | std::ios::trunc | std::ios::binary);
    for (int i = 0; i < 256; i++) file.put(static_cast<char>(i * 7));
    file.seekp(100);
    file << "here";
    file.seekg(98);
    char bytes[8];
    file.read(bytes, sizeof bytes);
    for (unsigned char byte : bytes) std::cout << std::hex << std::setw(2) << std::setfill('0') << +byte << ' ';
    std::cout << std::dec << fs::exists("numbers.bin") << fs::remove("numbers.bin") << '\n';
}
