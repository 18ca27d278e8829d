#include <bits/stdc++.h>
using namespace std;
typedef long long ll;
typedef vector<int> vi;
#define all(x) begin(x), end(x)
#define rep(i, a, b) for (int i = (a); i < (b); ++i)

// Shortest ways, a knapsack, an edit distance, inversions; then a lot of lines.
int main() {
    ios::sync_with_stdio(false);
    cin.tie(nullptr);
    int n, m;
    cin >> n >> m;
    vector<vector<pair<int, ll>>> graph(n);
    rep(i, 0, m) {
        int a, b;
        ll w;
        cin >> a >> b >> w;
        graph[a - 1].emplace_back(b - 1, w);
        graph[b - 1].emplace_back(a - 1, w);
    }
    vector<ll> best(n, LLONG_MAX);
    priority_queue<pair<ll, int>, vector<pair<ll, int>>, greater<>> open;
    open.emplace(best[0] = 0, 0);
    while (!open.empty()) {
        auto [cost, at] = open.top();
        open.pop();
        if (cost > best[at]) continue;
        for (auto [to, w] : graph[at])
            if (cost + w < best[to]) open.emplace(best[to] = cost + w, to);
    }
    rep(i, 0, n) cout << (best[i] == LLONG_MAX ? string("inf") : to_string(best[i])) << " \n"[i == n - 1];

    string s, t;
    cin >> s >> t;
    vector<vi> d(s.size() + 1, vi(t.size() + 1));
    rep(i, 0, (int)s.size() + 1) rep(j, 0, (int)t.size() + 1)
        d[i][j] = !i || !j ? i + j : min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (s[i - 1] != t[j - 1])});
    cout << s << " -> " << t << ": " << d.back().back() << '\n';

    vi weights{3, 4, 5, 9, 14}, dp(31);
    for (int w : weights) for (int c = 30; c >= w; c--) dp[c] = max(dp[c], dp[c - w] + w * w % 17);
    cout << "knapsack " << dp[30] << ", bits " << bitset<8>(dp[30]) << ", popcount " << __builtin_popcount(dp[30]) << '\n';

    mt19937 rng(12345);
    vi v(20000);
    iota(all(v), 0);
    for (int i = (int)v.size() - 1; i > 0; i--) swap(v[i], v[rng() % (i + 1)]);
    vector<ll> tree(v.size() + 1);
    ll inversions = 0;
    for (int i = (int)v.size() - 1; i >= 0; i--) {
        for (int k = v[i]; k > 0; k &= k - 1) inversions += tree[k];
        for (int k = v[i] + 1; k < (int)tree.size(); k += k & -k) tree[k]++;
    }
    rep(i, 0, (int)v.size()) cout << setw(6) << v[i] << ' ' << hex << setw(8) << setfill('0') << rng() << dec << setfill(' ') << '\n';
    sort(all(v), greater<int>());
    cout << "inversions " << inversions << ", largest " << v.front() << ", gcd " << gcd(inversions, 360LL) << endl;
}
