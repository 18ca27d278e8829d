import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

public class FilesAndProcesses {
    static String run(String input, String... command) throws IOException, InterruptedException {
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().put("LC_ALL", "C");
        builder.environment().put("GREETING", "hello");
        Process process = builder.start();
        Thread writer = new Thread(() -> {
            try (var in = process.getOutputStream()) {
                in.write(input.getBytes(StandardCharsets.UTF_8));
            } catch (IOException e) {
                System.out.println("it did not read everything");
            }
        });
        writer.start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        writer.join();
        return process.waitFor() + ":" + out.replace("\n", "/");
    }

    public static void main(String[] args) throws Exception {
        Path folder = Files.createTempDirectory("scratch");
        Path list = folder.resolve("sub").resolve("list.txt");
        Files.createDirectories(list.getParent());
        Files.write(list, List.of("gamma", "alpha", "beta \u00e4"), StandardCharsets.UTF_8);
        Files.writeString(list, "delta", StandardOpenOption.APPEND);
        System.out.println(Files.size(list) + " bytes, " + Files.readAllLines(list).size() + " lines");
        Files.copy(list, folder.resolve("copy.txt"));
        try {
            Files.move(list, folder.resolve("copy.txt"));
        } catch (FileAlreadyExistsException e) {
            System.out.println("there is one already: " + Path.of(e.getOtherFile() == null ? e.getFile() : e.getOtherFile()).getFileName());
        }
        Files.move(list, folder.resolve("copy.txt"), StandardCopyOption.REPLACE_EXISTING);
        try {
            Files.readString(list);
        } catch (NoSuchFileException e) {
            System.out.println("no such file: " + Path.of(e.getFile()).getFileName());
        }
        System.out.println(run("", "sort", folder.resolve("copy.txt").toString()).length());
        try (RandomAccessFile file = new RandomAccessFile("data.bin", "rw")) {
            for (int i = 0; i < 100; i++) file.writeInt(i * i);
            file.seek(4 * 99);
            System.out.println(file.readInt() + " at the end of " + file.length());
        }
        System.out.println(Files.deleteIfExists(Path.of("data.bin")) + " " + Files.exists(Path.of("data.bin")));
        System.out.println(run("c\nb\na\n", "sort") + " " + run("x".repeat(200_000), "cat").length());
        System.out.println(run("", "sh", "-c", "echo $GREETING \"$0\"; echo oops >&2; exit 5", "a b"));
        try {
            run("", "no-such-program-here");
        } catch (IOException e) {
            System.out.println("cannot run: " + e.getMessage().contains("error=2"));
        }
        try (Stream<Path> paths = Files.walk(folder)) {
            paths.sorted(Comparator.reverseOrder()).forEach(p -> { try { Files.delete(p); } catch (IOException e) { throw new UncheckedIOException(e); } });
        }
        System.out.println("left: " + Files.exists(folder));
    }
}
