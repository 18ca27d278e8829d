# Precompiles the headers that most programs begin with. A precompiled header serves only the first #include of a
# file, and only under the language and debug flags it was made with; -O1 to -O3 and warnings share one.
set -eu
out=$1

# header(name, standard...): name.gch is a folder, from which the compiler takes the one that fits.
header() {
    name=$1
    shift
    mkdir -p "$out/$name.gch"
    for standard; do
        echo "#include <$name>" >header.hpp
        g++ -O2 "-std=$standard" -pthread -x c++-header header.hpp -o "$out/$name.gch/$standard"
    done
}

header bits/stdc++.h gnu++20 c++20 c++17
for name in iostream vector string algorithm map cstdio; do
    header "$name" gnu++20
done
