package domain

import "time"

// ParseTime reads a time as documents carry them: RFC 3339, also with a space
// for the T, without seconds, without a zone (then UTC) or as a date alone
// (midnight UTC). Everything else, also a date that does not exist, is no time.
func ParseTime(s string) (time.Time, bool) {
	if len(s) < 10 || len(s) > 40 || s[4] != '-' || s[7] != '-' {
		return time.Time{}, false
	}
	year, ok1 := fixedInt(s[0:4])
	month, ok2 := fixedInt(s[5:7])
	day, ok3 := fixedInt(s[8:10])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, false
	}
	hour, minute, second, nanos, offset := 0, 0, 0, 0, 0
	if rest := s[10:]; rest != "" {
		if len(rest) < 6 || rest[0] != 'T' && rest[0] != 't' && rest[0] != ' ' || rest[3] != ':' {
			return time.Time{}, false
		}
		hour, ok1 = fixedInt(rest[1:3])
		minute, ok2 = fixedInt(rest[4:6])
		rest = rest[6:]
		if !ok1 || !ok2 || hour > 23 || minute > 59 {
			return time.Time{}, false
		}
		if len(rest) >= 3 && rest[0] == ':' {
			second, ok1 = fixedInt(rest[1:3])
			rest = rest[3:]
			if !ok1 || second > 59 {
				return time.Time{}, false
			}
			if len(rest) >= 2 && rest[0] == '.' {
				i, scale := 1, 100_000_000
				for ; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
					nanos += int(rest[i]-'0') * scale
					scale /= 10
				}
				if i == 1 {
					return time.Time{}, false
				}
				rest = rest[i:]
			}
		}
		var ok bool
		if offset, ok = zoneOffset(rest); !ok {
			return time.Time{}, false
		}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day {
		return time.Time{}, false
	}
	return t.Add(-time.Duration(offset) * time.Second), true
}

func zoneOffset(s string) (int, bool) {
	switch {
	case s == "" || s == "Z" || s == "z":
		return 0, true
	case s[0] != '+' && s[0] != '-':
		return 0, false
	case len(s) == 6 && s[3] == ':':
		s = s[:3] + s[4:]
	}
	if len(s) == 3 {
		s += "00"
	}
	if len(s) != 5 {
		return 0, false
	}
	h, ok1 := fixedInt(s[1:3])
	m, ok2 := fixedInt(s[3:5])
	if !ok1 || !ok2 || h > 23 || m > 59 {
		return 0, false
	}
	n := h*3600 + m*60
	if s[0] == '-' {
		n = -n
	}
	return n, true
}

func fixedInt(s string) (int, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}
