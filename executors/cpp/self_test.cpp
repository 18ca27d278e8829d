#include <bits/stdc++.h>
using namespace std;

int main(int argc, char **argv) {
    int n, sum = 0;
    if (argc != 2 || !(cin >> n))
        return 1;
    vector<int> numbers{3, 1, 2};
    ranges::sort(numbers);
    thread([&] { sum = numbers[0] + numbers[1]; }).join();
    cout << n + 1 << ' ' << argv[1] << ' ' << sum;
    for (int number : numbers)
        cout << ' ' << number;
    cout << endl;
}
