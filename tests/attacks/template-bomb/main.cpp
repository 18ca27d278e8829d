template <int Depth, int Width> struct Bomb {
    typename Bomb<Depth - 1, 2 * Width>::type left;
    typename Bomb<Depth - 1, 2 * Width + 1>::type right;
    typedef Bomb type;
};
template <int Width> struct Bomb<0, Width> { typedef int type; };
int main() { return sizeof(Bomb<24, 1>); }
