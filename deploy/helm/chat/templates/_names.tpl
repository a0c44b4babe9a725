{{/* Names and labels. */}}

{{- define "chat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Of all that is made. Short enough that what is put behind it fits into 63 characters. */}}
{{- define "chat.fullname" -}}
{{- $name := include "chat.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What all pods of this release share, and nobody else's. */}}
{{- define "chat.instance" -}}
app.kubernetes.io/name: {{ include "chat.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* What the pods of one part share: (dict "root" $ "component" "auth"). It never changes, since a selector can't. */}}
{{- define "chat.selector" -}}
{{ include "chat.instance" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Of an object; `component` may be absent. */}}
{{- define "chat.labels" -}}
{{ include "chat.instance" .root }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ include "chat.version" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Which server this is, as a label and a part of a name may say it. */}}
{{- define "chat.version" -}}
{{- $version := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- $version = .Values.image.digest | trimPrefix "sha256:" | trunc 12 -}}
{{- end -}}
{{- regexReplaceAll "[^A-Za-z0-9._-]" $version "-" | trunc 40 | trimAll "-._" -}}
{{- end -}}

{{- define "chat.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The Service that answers for a role: (dict "root" $ "role" "auth"). */}}
{{- define "chat.service" -}}
{{- if eq .root.Values.mode "single" -}}
{{- include "chat.fullname" .root -}}
{{- else -}}
{{- printf "%s-%s" (include "chat.fullname" .root) .role -}}
{{- end -}}
{{- end -}}

{{/* The PostgreSQL cluster of CloudNativePG. */}}
{{- define "chat.postgres" -}}
{{- default (printf "%s-db" (include "chat.fullname" .)) .Values.database.cloudnativepg.name -}}
{{- end -}}

{{/* The Kafka cluster of Strimzi, and its user of this server. */}}
{{- define "chat.kafka" -}}
{{- default (include "chat.fullname" .) .Values.kafka.strimzi.name -}}
{{- end -}}
{{- define "chat.kafka.user" -}}
{{- default (include "chat.fullname" .) .Values.kafka.username -}}
{{- end -}}

{{- define "chat.gateway" -}}
{{- default (include "chat.fullname" .) .Values.gateway.name -}}
{{- end -}}
{{- define "chat.certificate" -}}
{{- default (printf "%s-tls" (include "chat.fullname" .)) .Values.gateway.tls.secretName -}}
{{- end -}}

{{/* Which listener a route is of: (dict "root" $ "section" …). */}}
{{- define "chat.parent" -}}
parentRefs:
  - name: {{ include "chat.gateway" .root | quote }}
    {{- with .root.Values.gateway.namespace }}
    namespace: {{ . | quote }}
    {{- end }}
    sectionName: {{ .section | quote }}
hostnames: [{{ .root.Values.gateway.host | quote }}]
{{- end -}}
