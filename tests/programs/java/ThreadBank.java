import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.*;

public class ThreadBank {
    private final long[] accounts = new long[10];

    synchronized void transfer(int from, int to, long amount) {
        accounts[from] -= amount;
        accounts[to] += amount;
    }

    static class Sum extends RecursiveTask<Long> {
        final int from, to;
        Sum(int from, int to) { this.from = from; this.to = to; }
        @Override protected Long compute() {
            if (to - from < 1000) { long s = 0; for (int i = from; i < to; i++) s += i; return s; }
            Sum left = new Sum(from, (from + to) / 2), right = new Sum((from + to) / 2, to);
            left.fork();
            return right.compute() + left.join();
        }
    }

    public static void main(String[] args) throws Exception {
        ThreadBank bank = new ThreadBank();
        Thread[] clerks = new Thread[8];
        CyclicBarrier together = new CyclicBarrier(clerks.length);
        for (int t = 0; t < clerks.length; t++) {
            final int id = t;
            (clerks[t] = new Thread(() -> {
                try { together.await(); } catch (Exception e) { throw new IllegalStateException(e); }
                for (int i = 0; i < 5000; i++) bank.transfer((id + i) % 10, (id + 3 * i) % 10, i % 7);
            }, "clerk-" + t)).start();
        }
        for (Thread clerk : clerks) clerk.join();
        long sum = 0, spread = 0;
        for (long a : bank.accounts) { sum += a; spread += Math.abs(a); }
        System.out.println("sum " + sum + ", spread " + spread);

        ExecutorService pool = Executors.newFixedThreadPool(3);
        List<Future<Integer>> answers = new ArrayList<>();
        for (int i = 0; i < 6; i++) { final int n = i; answers.add(pool.submit(() -> 60 / (n - 2))); }
        for (Future<Integer> answer : answers)
            try { System.out.print(answer.get() + " "); } catch (ExecutionException e) { System.out.print("[" + e.getCause().getMessage() + "] "); }
        pool.shutdown();
        System.out.println(pool.awaitTermination(30, TimeUnit.SECONDS));

        System.out.println(CompletableFuture.supplyAsync(() -> 6).thenCombine(CompletableFuture.supplyAsync(() -> 7), (a, b) -> a * b).thenApply(n -> "answer " + n).get());
        System.out.println(CompletableFuture.supplyAsync(() -> Integer.parseInt("x1")).exceptionally(e -> e instanceof CompletionException ? -1 : -2).join());
        System.out.println(new ForkJoinPool(2).invoke(new Sum(0, 1_000_000)));
    }
}
