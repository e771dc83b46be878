import{a,b}from"./chunk-JUQVT3PO.js";import"./chunk-EFMPHIVL.js";import"./chunk-KE47JQLL.js";import"./chunk-VKW4UOH3.js";import"./chunk-DCANE7XH.js";export{a as fetchPresets,b as fillPresetMenu};
