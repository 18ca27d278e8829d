import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/** Records, sealed interfaces, switch expressions and streams. */
public class Shapes {
    enum Colour { RED, GREEN, BLUE }

    sealed interface Shape permits Circle, Box, Group {
        Colour colour();
    }

    record Circle(double radius, Colour colour) implements Shape {
        Circle {
            if (radius <= 0) throw new IllegalArgumentException("radius " + radius);
        }
    }

    record Box(double width, double height, Colour colour) implements Shape {
        Box(double side) {
            this(side, side, Colour.GREEN);
        }
    }

    record Group(List<Shape> parts) implements Shape {
        public Colour colour() {
            return parts.isEmpty() ? Colour.RED : parts.get(0).colour();
        }
    }

    record Pair<A, B>(A first, B second) { }

    static double area(Shape shape) {
        if (shape instanceof Circle c) return Math.PI * c.radius() * c.radius();
        if (shape instanceof Box b && b.width() == b.height()) return Math.pow(b.width(), 2);
        if (shape instanceof Box b) return b.width() * b.height();
        return ((Group) shape).parts().stream().mapToDouble(Shapes::area).sum();
    }

    public static void main(String[] args) {
        List<Shape> shapes = List.of(new Circle(1.5, Colour.BLUE), new Box(2), new Box(3, 0.5, Colour.RED), new Group(List.of(new Box(1), new Circle(0.1, Colour.RED))));
        shapes.forEach(s -> System.out.printf(Locale.ROOT, "%8.4f %-5s %s%n", area(s), s.colour(), s));
        Map<Colour, Double> totals = shapes.stream().collect(Collectors.groupingBy(Shape::colour, () -> new EnumMap<>(Colour.class), Collectors.summingDouble(Shapes::area)));
        totals.forEach((colour, total) -> System.out.println(colour.name().toLowerCase(Locale.ROOT) + switch (colour) {
            case RED -> "!";
            case GREEN, BLUE -> {
                long rounded = Math.round(total);
                yield " about " + rounded;
            }
        }));
        System.out.println(new Box(2).equals(new Box(2, 2, Colour.GREEN)) + " " + new Pair<>("a", 1) + " " + Optional.<String>empty().or(() -> Optional.of("else")));
        System.out.println(IntStream.rangeClosed(1, 30).boxed().collect(Collectors.partitioningBy(n -> n % 7 == 0, Collectors.summingInt(n -> n))));
        System.out.println(Stream.iterate(new Pair<>(0L, 1L), p -> new Pair<>(p.second(), p.first() + p.second())).limit(60).reduce((a, b) -> b).map(Pair::first).orElseThrow());
        System.out.println(Stream.of("pear", "fig", "apple", "kiwi").sorted(Comparator.comparing(String::length).thenComparing(Comparator.reverseOrder())).toList());
        System.out.println(IntStream.range(0, 100_000).parallel().mapToLong(n -> (long) n * n).sum() + " " + new TreeMap<>(Map.of("b", 2, "a", 1, "c", 3)).headMap("c"));
        var list = new ArrayList<>(List.of(5, 3, 9));
        list.removeIf(n -> n > 8);
        System.out.println(list + """
             is a list,
              and this a "block" \
            of text.""");
    }
}
