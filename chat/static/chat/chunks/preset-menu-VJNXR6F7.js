import{a,b}from"./chunk-BI26S4FE.js";import"./chunk-K7N3PRKU.js";import"./chunk-KE47JQLL.js";import"./chunk-SKXYPAOE.js";import"./chunk-DCANE7XH.js";export{a as fetchPresets,b as fillPresetMenu};
