{{- define "lastcall.prefix" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "lastcall" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-lastcall" (.Release.Name | trunc 41 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* The labels that never change, of (list $ component). */}}
{{- define "lastcall.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: lastcall
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "lastcall.labels" -}}
{{- $ := index . 0 -}}
{{ include "lastcall.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of pods: not the chart's version, or an upgrade that changes nothing for them would restart every agent. */}}
{{- define "lastcall.podLabels" -}}
{{- $ := index . 0 -}}
{{ include "lastcall.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
{{- end -}}

{{- define "lastcall.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate; nothing in mode selfSigned. */}}
{{- define "lastcall.tlsSecret" -}}
{{- if eq .Values.tls.mode "helm" -}}
{{ include "lastcall.prefix" . }}-tls
{{- else if eq .Values.tls.mode "existingSecret" -}}
{{ .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{/* The namespaces with sidecars, joined by commas. */}}
{{- define "lastcall.sidecarNamespaces" -}}
{{- $names := list -}}
{{- range .Values.sidecars -}}
{{- $names = append $names .namespace -}}
{{- end -}}
{{- $names | uniq | join "," -}}
{{- end -}}

{{/* The kinds of places that the consumers' file declares, which the hub is to know; those of the others it knows. */}}
{{- define "lastcall.consumerKinds" -}}
{{- $kinds := list -}}
{{- with .Values.agent.consumers -}}
{{- if .enabled -}}
{{- range (.config).consumers -}}
{{- if .scrape -}}
{{- $kinds = append $kinds .place -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $kinds | uniq | join "," -}}
{{- end -}}

{{/* "true" if the hub follows routes; also with values of an older release. */}}
{{- define "lastcall.routes" -}}
{{- if ne (dig "enabled" true (.Values.hub.routes | default dict)) false -}}
true
{{- end -}}
{{- end -}}
