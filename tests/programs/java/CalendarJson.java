import java.time.DayOfWeek;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.Period;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.time.temporal.ChronoUnit;
import java.time.temporal.IsoFields;
import java.time.temporal.TemporalAdjusters;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** Dates in UTC, written as JSON with characters as they are. */
public class CalendarJson {
    static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream().map(e -> json(e.getKey().toString()) + ": " + json(e.getValue())).collect(Collectors.joining(", ", "{", "}"));
        } else if (value instanceof List<?> list) {
            return list.stream().map(CalendarJson::json).collect(Collectors.joining(", ", "[", "]"));
        } else if (value instanceof Number || value instanceof Boolean || value == null) {
            return String.valueOf(value);
        }
        StringBuilder out = new StringBuilder("\"");
        for (char c : value.toString().toCharArray()) {
            switch (c) {
                case '"', '\\' -> out.append('\\').append(c);
                case '\n' -> out.append("\\n");
                default -> out.append(c < ' ' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
            }
        }
        return out.append('"').toString();
    }

    public static void main(String[] args) {
        DateTimeFormatter format = DateTimeFormatter.ofPattern("EEEE, d MMM uuuu HH:mm:ss", Locale.ENGLISH).withZone(ZoneOffset.UTC);
        for (long seconds : new long[] {0, -1, 1709251199, 4102444800L, -62135596800L}) {
            Instant at = Instant.ofEpochSecond(seconds);
            System.out.println(at + " = " + format.format(at));
        }
        for (LocalDate day : List.of(LocalDate.of(2024, 2, 29), LocalDate.of(2023, 12, 31), LocalDate.parse("2026-01-01"))) {
            Map<String, Object> facts = new LinkedHashMap<>();
            facts.put("day", day);
            facts.put("in a year", day.plusYears(1));
            facts.put("week", List.of(day.get(IsoFields.WEEK_BASED_YEAR), day.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR)));
            facts.put("leap", day.isLeapYear());
            facts.put("märz", day.withMonth(3).with(TemporalAdjusters.lastInMonth(DayOfWeek.SUNDAY)));
            facts.put("since", Map.of("days", ChronoUnit.DAYS.between(LocalDate.EPOCH, day)));
            facts.put("age", LocalDate.of(1999, 12, 31).until(day));
            System.out.println(json(facts));
        }
        System.out.println(json(List.of("tab\there", "“quotes” \"\\\"", "日本 😀", 1.0, 1e10, true, Period.ofDays(10), Duration.ofSeconds(3725, 5_000_000))));
        try {
            LocalDate.parse("2023-02-29");
        } catch (DateTimeParseException e) {
            System.out.println(e.getMessage());
        }
    }
}
