package report

import "fmt"

// Keep merges newer results into the file and writes the page from all of
// them. An empty name leaves that out.
func Keep(file, page string, newer Results) error {
	if file == "" {
		return nil
	}
	all, err := Load(file)
	if err != nil {
		return err
	}
	all.Merge(newer)
	if err := all.Save(file); err != nil {
		return err
	}
	if page == "" {
		return nil
	}
	if err := all.WritePage(page); err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return nil
}
