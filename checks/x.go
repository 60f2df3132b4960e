package checks

import (
	_ "github.com/getkin/kin-openapi/openapi3"
	_ "github.com/prometheus/common/expfmt"
)
