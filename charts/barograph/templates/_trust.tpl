{{/* Certificates of one's own authorities, in every container that connects to broker, store, database or mail. */}}

{{/* context -> the ConfigMap's name, '' without one */}}
{{- define "barograph.trust.name" -}}
{{- if .Values.trust.certificates -}}
{{- include "barograph.name" (list . "trust") -}}
{{- else -}}
{{- .Values.trust.configMap -}}
{{- end -}}
{{- end -}}

{{- define "barograph.trust.env" -}}
{{- if include "barograph.trust.name" . -}}
- {name: BAROGRAPH_CA_FILE, value: /etc/barograph/trust/ca.crt}
- {name: PGSSLROOTCERT, value: /etc/barograph/trust/ca.crt}
{{- end -}}
{{- end -}}

{{- define "barograph.trust.mount" -}}
{{- if include "barograph.trust.name" . -}}
- {name: trust, mountPath: /etc/barograph/trust, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "barograph.trust.volume" -}}
{{- include "barograph.trust.volumeOf" (include "barograph.trust.name" .) -}}
{{- end -}}

{{/* ConfigMap's name, '' without one -> the volume */}}
{{- define "barograph.trust.volumeOf" -}}
{{- with . -}}
- {name: trust, configMap: {name: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end -}}
{{- end -}}
