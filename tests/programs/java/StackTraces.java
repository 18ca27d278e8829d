import java.io.Closeable;
import java.util.ConcurrentModificationException;
import java.util.ArrayList;
import java.util.List;

/** Exceptions of all sorts; the last one nobody catches. */
public class StackTraces {
    static class OrderException extends Exception {
        private static final long serialVersionUID = 1L;
        final int code;

        OrderException(int code, String message, Throwable cause) {
            super(message, cause);
            this.code = code;
        }
    }

    record Door(String name) implements Closeable {
        Door {
            System.out.println("open " + name);
        }
        @Override public void close() {
            System.out.println("close " + name);
            if (name.equals("stuck")) throw new IllegalStateException(name + " will not close");
        }
    }

    static int order(String amount) throws OrderException {
        try {
            return Integer.parseInt(amount);
        } catch (NumberFormatException e) {
            throw new OrderException(17, "no such amount", e);
        } finally {
            System.out.println("ordered " + amount);
        }
    }

    @SuppressWarnings("finally")
    static int odd() {
        try { throw new RuntimeException("lost"); } finally { return 1; }
    }

    public static void main(String[] args) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("shutdown hook")));
        try (Door front = new Door("front"); Door stuck = new Door("stuck")) {
            System.out.println(order("12") + order("a dozen"));
        } catch (OrderException e) {
            System.out.println(e + " " + e.code + " <- " + e.getCause().getMessage());
            System.out.println("suppressed: " + e.getSuppressed()[0].getMessage());
            System.out.println("thrown in " + e.getStackTrace()[0].getMethodName() + " line " + e.getStackTrace()[0].getLineNumber());
        }
        List<Integer> list = new ArrayList<>(List.of(1, 2, 3));
        Runnable[] mistakes = {
            () -> { for (Integer i : list) list.remove(i); }, () -> List.of(1).add(2), () -> { Object o = "s"; Integer i = (Integer) o; },
            () -> new int[2][-1].toString(), () -> "abc".substring(5), () -> { throw new Error("serious", new Exception("cause")); }};
        for (Runnable mistake : mistakes)
            try { mistake.run(); } catch (Exception | Error e) { System.out.println(e.getClass().getSimpleName() + (e instanceof ConcurrentModificationException ? "!" : "")); }
        System.out.println(odd());
        Thread thread = new Thread(() -> { throw new IllegalArgumentException("in a thread"); });
        thread.setUncaughtExceptionHandler((t, e) -> System.out.println("handler: " + e.getMessage()));
        thread.start();
        try { thread.join(); } catch (InterruptedException e) { Thread.currentThread().interrupt(); }
        String nothing = args.length > 99 ? "" : null;
        System.out.println(nothing.length());
    }
}
