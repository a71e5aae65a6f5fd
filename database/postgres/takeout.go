package postgres

import (
	"regexp"
	"slices"
	"strings"
)

var (
	// badSetting is what a server says of a setting that it does not take.
	badSetting = regexp.MustCompile(`(?:LOG|FATAL|ERROR): .*parameter "([^"]+)"`)
	// badLibrary is what a server says of a library that it can't load.
	badLibrary = regexp.MustCompile(`FATAL:  could not (?:access file|load library|find function "_PG_init" in file) "([^"]+)"`)
)

// takeOut takes out of the source's settings what the server has complained of.
// It returns an error if that is one of the golden's own.
func (p *preparation) takeOut(output []string) (changed bool, err error) {
	for _, line := range output {
		taken := false
		if match := badLibrary.FindStringSubmatch(line); match != nil {
			taken, err = p.takeOutLibrary(libraryName(match[1]), line)
		} else if match := badSetting.FindStringSubmatch(line); match != nil {
			taken, err = p.takeOutSetting(strings.ToLower(match[1]), line)
		}
		if err != nil {
			return false, err
		}
		changed = changed || taken
	}
	return changed, nil
}

func (p *preparation) takeOutLibrary(name, line string) (bool, error) {
	at := slices.Index(p.result.PreloadLibraries, name)
	if at < 0 {
		return false, nil
	}
	if _, own := p.req.Settings[preload]; own {
		return false, settingError(preload, message(line))
	}
	p.result.PreloadLibraries = slices.Delete(p.result.PreloadLibraries, at, at+1)
	p.defused("library " + name + ": the image does not have it")
	return true, nil
}

func (p *preparation) takeOutSetting(name, line string) (bool, error) {
	if _, own := p.req.Settings[name]; own {
		return false, settingError(name, message(line))
	}
	if _, has := p.conf[name]; !has {
		return false, nil
	}
	delete(p.conf, name)
	p.defused("setting " + name + ": the image's server does not take its value")
	return true, nil
}
