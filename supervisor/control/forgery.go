package control

import (
	"net/http"

	"example.com/brood/supervisor/control/api"
)

// A browser can be had to send requests by any page that it shows. Behind a proxy
// that lets browsers in, such a request comes with the rights of the proxy, so
// what changes something is not done for another site's page.

// notForgedBy refuses what a browser says comes from elsewhere: by Sec-Fetch-Site,
// or an Origin that is not the Host.
func (s *Server) notForgedBy(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		if err := guard.Check(hr); err != nil {
			s.answer(&request{w: w, Request: hr}, failf(api.CodeDenied,
				"a page of another site asks for this (%v); if it is your own, have the proxy pass the Host on that the browser has sent", err))
			return
		}
		next.ServeHTTP(w, hr)
	})
}

// browsersOwn are headers that browsers send and scripts do not.
var browsersOwn = []string{"Sec-Fetch-Site", "Sec-Fetch-Mode", "Origin", "Referer", "Accept-Language"}

// notByBrowser is an error for a browser: GET is what a link or a picture on any
// page sends, so nothing may change by it.
func (r *request) notByBrowser() error {
	if r.Method != http.MethodGet {
		return nil
	}
	for _, name := range browsersOwn {
		if r.Header.Get(name) != "" {
			return failf(api.CodeDenied, "a browser sends no command by GET (it has sent %s): use POST", name)
		}
	}
	return nil
}
