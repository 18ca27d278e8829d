package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// JSON into structs and back, with dates in UTC.
type Level int

func (l Level) MarshalText() ([]byte, error) { return []byte([]string{"low", "mid", "high"}[l]), nil }
func (l *Level) UnmarshalText(text []byte) error {
	i := strings.Index("low mid high", string(text))
	if i < 0 {
		return fmt.Errorf("no level %q", text)
	}
	*l = Level(i / 4)
	return nil
}

type Ship struct {
	Name    string            `json:"name"`
	Built   time.Time         `json:"built"`
	Length  float64           `json:"length,omitempty"`
	Level   Level             `json:"level"`
	Extra   map[string]any    `json:"extra,omitempty"`
	Flags   map[string]string `json:"-"`
	Sisters []*Ship           `json:"sisters"`
}

const text = `[
 {"name": "Änne", "built": "2024-02-28T23:30:00-01:00", "length": 12.50, "level": "high", "extra": {"b": [1, 2.5, null], "a": "<&>"}},
 {"name": "\u65e5\u672c \ud83d\ude00", "built": "1999-12-31T23:59:59.25Z", "level": "low", "sisters": [{"name": "x", "level": "mid"}], "unknown": 1}
]`

func main() {
	var fleet []Ship
	if err := json.Unmarshal([]byte(text), &fleet); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, ship := range fleet {
		built := ship.Built.UTC()
		year, week := built.ISOWeek()
		fmt.Printf("%-6s|%s|%d-W%02d|day %d|%+.3e\n", ship.Name, built.Format("Mon, 02 Jan 2006 15:04:05.000"), year, week, built.YearDay(), ship.Length)
		fmt.Println("  next:", built.AddDate(0, 1, 1).Format(time.RFC3339), built.Truncate(24*time.Hour).Unix(), time.Unix(0, 0).UTC().Sub(built).Round(time.Hour))
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(fleet); err != nil {
		fmt.Println(err)
	}
	for _, bad := range []string{`[{"level": "none"}]`, `[{"name": 5}]`, `[1,]`, `[{"built": "2023-02-29T00:00:00Z"}]`, `[`} {
		fmt.Println(json.Unmarshal([]byte(bad), &fleet))
	}
	var anything any
	_ = json.Unmarshal([]byte(`{"z": 1e3, "a": {"k": [true, "s"]}}`), &anything)
	fmt.Println(anything, 1e21, 1e20, 0.1+0.2, float32(0.1), 100000000.0)
}
