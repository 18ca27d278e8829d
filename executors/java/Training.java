import java.util.*;
import java.util.function.Function;
import java.util.stream.Collectors;

/** Never run: compiling it loads what most programs need of the compiler, a warning and a note included. */
public class Training {
    sealed interface Shape permits Circle, Square { }
    record Circle(double radius) implements Shape { }
    record Square(double side) implements Shape { }
    enum Colour { RED, GREEN { @Override String say() { return "go"; } }; String say() { return name(); } }
    @FunctionalInterface interface Twice<T extends Comparable<? super T>> { T of(T value) throws Exception; }
    static abstract class Base<T> implements Iterable<T>, AutoCloseable {
        protected final List<T> items = new ArrayList<>();
        abstract void add(T item);
        @Override public Iterator<T> iterator() {
            return new Iterator<T>() {
                int at = 0;
                @Override public boolean hasNext() { return at < items.size(); }
                @Override public T next() { return items.get(at++); }
            };
        }
        @Override public void close() { items.clear(); }
    }
    static class Bag extends Base<Integer> { @Override void add(Integer item) { items.add(item); } }

    static double area(Shape shape) {
        if (shape instanceof Circle c && c.radius() > 0) return Math.PI * c.radius() * c.radius();
        return shape instanceof Square s ? s.side() * s.side() : 0;
    }

    static <K, V extends Comparable<V>> Map<K, V> sorted(Map<K, V> map) {
        return map.entrySet().stream().sorted(Map.Entry.comparingByValue())
            .collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue, (a, b) -> a, LinkedHashMap::new));
    }

    @SuppressWarnings("unchecked")
    public static void main(String... args) throws Exception {
        long sum = 0L;
        outer:
        for (int i = 0; i < 10; i++) {
            switch (i % 4) {
                case 0: sum += i << 2; break;
                case 1: continue outer;
                default: sum ^= ~i & 0xff;
            }
            int kind = switch (Colour.values()[i % 2]) { case RED -> 1; case GREEN -> { yield 2; } };
            sum -= kind > 1 ? (char) kind : (byte) kind;
        }
        int[][] grid = {{1, 2}, {3, 4}};
        for (int[] row : grid) for (int cell : row) sum += cell;
        do { sum--; } while (sum > 100);
        var text = """
            block of %d
            """.formatted(sum);
        Function<Integer, Function<Integer, Integer>> adder = a -> b -> a + b;
        Runnable run = Training::new;
        try (Bag bag = new Bag(); Scanner in = new Scanner("1 2")) {
            while (in.hasNextInt()) bag.add(in.nextInt());
            for (Integer item : bag) System.out.printf("%d %s%n", adder.apply(1).apply(item), text);
            Object old = new ArrayList();
            ((List) old).add(bag);
        } catch (IllegalStateException | NumberFormatException e) {
            throw new RuntimeException("no", e);
        } finally {
            synchronized (Training.class) { run.run(); }
        }
        Map<String, List<Integer>> groups = Arrays.asList(3, 1, 2).stream().collect(Collectors.groupingBy(n -> n % 2 == 0 ? "even" : "odd"));
        Thread thread = new Thread(() -> { assert groups.size() == 2 : "two"; System.out.println(sorted(new HashMap<>(Map.of("a", 1))) + " " + area(new Circle(1))); });
        thread.start();
        thread.join();
        PriorityQueue<int[]> queue = new PriorityQueue<>((a, b) -> Integer.compare(a[0], b[0]));
        queue.offer(new int[] {1, 2});
        StringBuilder builder = new StringBuilder().append(queue.poll()[0]).append('x').append(1.5f);
        System.out.println(builder.reverse() + Optional.of("x").map(String::length).orElse(0).toString());
        System.exit(args.length);
    }
}
