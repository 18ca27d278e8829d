import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.text.Normalizer;
import java.util.Comparator;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class LineStatistics {
    private static final Pattern TOKEN =
        Pattern.compile("(?<word>\\p{L}[\\p{L}\\p{M}']*)|(?<number>[-+]?\\d+(?:[.,]\\d+)*)|(?<other>[^\\s\\p{L}\\d])", Pattern.UNICODE_CHARACTER_CLASS);

    public static void main(String[] args) throws IOException {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        Map<String, Integer> words = new TreeMap<>();
        int number = 0;
        try (var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line; (line = in.readLine()) != null; ) {
                number++;
                StringBuilder kinds = new StringBuilder();
                Matcher matcher = TOKEN.matcher(line);
                while (matcher.find()) {
                    if (matcher.group("word") != null) {
                        kinds.append('w');
                        words.merge(matcher.group("word").toLowerCase(Locale.ROOT), 1, Integer::sum);
                    } else {
                        kinds.append(matcher.group("number") != null ? '9' : '.');
                    }
                }
                out.printf(Locale.ROOT, "%2d %3d chars %3d points  %s%n", number, line.length(), line.codePointCount(0, line.length()), kinds);
            }
        }
        String top = words.entrySet().stream()
            .sorted(Map.Entry.<String, Integer>comparingByValue(Comparator.reverseOrder()).thenComparing(Map.Entry.comparingByKey()))
            .limit(5)
            .map(e -> e.getKey() + "=" + e.getValue())
            .collect(Collectors.joining(", ", "{", "}"));
        out.println(top);
        for (String word : words.keySet()) {
            String plain = Normalizer.normalize(word, Normalizer.Form.NFD).replaceAll("\\p{M}+", "");
            if (!plain.equals(word)) out.println(word + " -> " + plain + " -> " + new StringBuilder(word).reverse() + " " + word.toUpperCase(Locale.ROOT));
        }
        out.println("\u00dfx\ud83d\ude00".codePoints().mapToObj(c -> Character.getName(c)).toList());
        out.println("a-b--c".split("-").length + " " + "  trim me\u2003".strip() + "|" + "ab\n".repeat(2).lines().count());
    }
}
