import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.NoSuchElementException;

// No public class in here; main is in the third one.

interface Command {
    int apply(int floor);

    static Command up(int n) { return floor -> floor + n; }
    static Command down(int n) { return floor -> floor - n; }
}

class Ring<T extends Comparable<? super T>> implements Iterable<T> {
    private final T[] items;
    private int start, size;

    @SuppressWarnings("unchecked")
    Ring(int room) {
        items = (T[]) new Comparable<?>[room];
    }

    void add(T item) {
        items[(start + size) % items.length] = item;
        if (size < items.length) size++;
        else start = (start + 1) % items.length;
    }

    T largest() {
        if (size == 0) throw new NoSuchElementException("empty ring");
        T best = null;
        for (T item : this) if (best == null || item.compareTo(best) > 0) best = item;
        return best;
    }

    @Override
    public Iterator<T> iterator() {
        return new Iterator<>() {
            private int at = 0;
            public boolean hasNext() { return at < size; }
            public T next() { return items[(start + at++) % items.length]; }
        };
    }
}

class Elevator {
    private int floor;
    private final Ring<Integer> history = new Ring<>(4);
    private final Deque<String> log = new ArrayDeque<>();

    void run(Command... commands) {
        for (Command command : commands) {
            int next = command.apply(floor);
            log.push(next > 20 || next < -2 ? "refused " + next : floor + ">" + next);
            if (next <= 20 && next >= -2) history.add(floor = next);
        }
    }

    public static void main(String[] args) {
        Elevator elevator = new Elevator();
        try {
            elevator.history.largest();
        } catch (NoSuchElementException e) {
            System.out.println(e.getMessage());
        }
        elevator.run(Command.up(5), Command.down(9), Command.up(15), f -> f / 2, f -> -f, Command.down(-12), Command.up(1));
        for (int stop : elevator.history) System.out.print(stop + " ");
        System.out.println("highest " + elevator.history.largest());
        while (!elevator.log.isEmpty()) System.out.println(elevator.log.pollLast());
        System.out.println(args.length + " arguments: " + String.join("|", args));
        System.exit(args.length);
    }
}
