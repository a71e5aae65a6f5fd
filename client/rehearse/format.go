package rehearse

import (
	"fmt"
	"strings"
	"time"
)

// size writes bytes for people; a negative number is a decrease.
func size(n int64) string {
	sign := ""
	v := float64(n)
	if n < 0 {
		sign, v = "-", -v
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	u := 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 || v >= 10 {
		return fmt.Sprintf("%s%.0f %s", sign, v, units[u])
	}
	return fmt.Sprintf("%s%.1f %s", sign, v, units[u])
}

// took writes a measured time for people.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// signed writes a change of bytes.
func signed(n int64) string {
	if n > 0 {
		return "+" + size(n)
	}
	return size(n)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// code writes a text as code, where nothing in it is markup: it may stand in a
// table, and nobody can be mentioned by a statement.
func code(text string) string {
	if text == "" {
		return ""
	}
	fence := strings.Repeat("`", longestRun(text)+1)
	// A space at either end is taken away again.
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") {
		text = " " + text + " "
	}
	text = strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(text)
	return fence + text + fence
}

// fenced writes lines as a block of code.
func fenced(language, text string) string {
	fence := strings.Repeat("`", max(3, longestRun(text)+1))
	return fence + language + "\n" + strings.TrimSpace(text) + "\n" + fence
}

// longestRun is how many backticks follow each other.
func longestRun(text string) int {
	longest, run := 0, 0
	for _, c := range text {
		if c != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// html keeps a text that is no code from being markup.
func html(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "\\`",
		"[", `\[`, "@", "@\u200b", "\n", " ").Replace(text)
}
