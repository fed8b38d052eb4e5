//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// cpu is the processor time of a process and the children it has waited for, in seconds
// (proc_pid_stat(5): utime, stime, cutime, cstime; in clock ticks of 10 ms).
func cpu(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:15] {
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return float64(ticks) / 100
}

// memory of a process, in MiB.
type memory struct {
	Peak float64 `json:"peak_rss_mib"`
	RSS  float64 `json:"rss_mib"`
	// File is the part of RSS that is pages of the program itself, which the kernel can drop.
	File float64 `json:"rss_file_mib"`
}

func memoryOf(pid int) memory {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}
	}
	fields := strings.Fields(string(status))
	mib := func(name string) float64 {
		i := slices.Index(fields, name+":")
		if i < 0 {
			return 0
		}
		kib, _ := strconv.ParseFloat(fields[i+1], 64)
		return kib / 1024
	}
	return memory{Peak: mib("VmHWM"), RSS: mib("VmRSS"), File: mib("RssFile")}
}

// gauge is the value of a family of one gauge.
func gauge(f *dto.MetricFamily) float64 {
	for _, m := range f.GetMetric() {
		return m.GetGauge().GetValue()
	}
	return 0
}
