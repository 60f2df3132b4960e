package process

import (
	"fmt"
	"strconv"
)

// limitName is the name of a resource in sentences.
func limitName(resource int) string {
	for name, r := range LimitNames {
		if r == resource {
			return name
		}
	}
	return "resource " + strconv.Itoa(resource)
}

func limitValue(n uint64) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func (l Limit) String() string {
	if l.Soft == l.Hard {
		return limitName(l.Resource) + " " + limitValue(l.Soft)
	}
	return fmt.Sprintf("%s %s:%s", limitName(l.Resource), limitValue(l.Soft), limitValue(l.Hard))
}
