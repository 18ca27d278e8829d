import java.util.Arrays;
import java.util.Scanner;
import java.util.stream.IntStream;

public class SelfTest {
    record Point(int x, int y) { }

    public static void main(String[] args) throws Exception {
        int n = new Scanner(System.in).nextInt();
        var points = IntStream.range(1, 2).mapToObj(x -> new Point(x, x + 1)).toList();
        var thread = new Thread(() -> System.out.print(n + 1));
        thread.start();
        thread.join();
        System.out.println(" " + Arrays.toString(args) + " " + points.get(0));
    }
}
