import java.util.HashMap;
import java.util.Map;

/** Recursion: modest on the main thread, deep on one with a large stack, and without an end. */
public class DeepRecursion {
    private static final Map<Long, Long> KNOWN = new HashMap<>();

    static long sum(int n) {
        return n == 0 ? 0 : n + sum(n - 1);
    }

    static long ways(int n, int largest) {
        if (n == 0) return 1;
        if (n < 0 || largest == 0) return 0;
        long key = n * 1000L + largest;
        Long known = KNOWN.get(key);
        if (known != null) return known;
        long count = ways(n - largest, largest) + ways(n, largest - 1);
        KNOWN.put(key, count);
        return count;
    }

    static int ackermann(int m, int n) {
        if (m == 0) return n + 1;
        return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
    }

    static boolean solve(int[] queens, int row) {
        if (row == queens.length) return true;
        next:
        for (int column = 0; column < queens.length; column++) {
            for (int r = 0; r < row; r++) {
                if (queens[r] == column || Math.abs(queens[r] - column) == row - r) continue next;
            }
            queens[row] = column;
            if (solve(queens, row + 1)) return true;
        }
        return false;
    }

    static int forever(int n) {
        return forever(n + 1) + 1;
    }

    public static void main(String[] args) throws InterruptedException {
        System.out.println("sum to 3000: " + sum(3000));
        System.out.println("ways to pay 100: " + ways(100, 100) + ", 300: " + ways(300, 300));
        int[] queens = new int[12];
        System.out.println(solve(queens, 0) + " " + java.util.Arrays.toString(queens));
        Thread deep = new Thread(null, () -> System.out.println("sum to 150000: " + sum(150_000) + ", ackermann " + ackermann(3, 8)), "deep", 48L << 20);
        deep.start();
        deep.join();
        try {
            forever(0);
        } catch (StackOverflowError e) {
            System.out.println("caught " + e.getClass().getSimpleName() + ", " + e.getMessage());
        }
    }
}
